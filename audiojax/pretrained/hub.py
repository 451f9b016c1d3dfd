"""Where a public checkpoint lies: a folder, the local cache of the Hugging Face hub, or, when asked for, the hub itself.

Nothing here touches the network unless `download=True`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.pretrained.catalog import entry_of

SMALL_FILES = (".json", ".txt", ".model", ".md")  # configs, vocabularies, the model card
WEIGHT_FILES = (".safetensors", ".bin", ".pth", ".pt")  # in the order of preference
VARIANT = r"\.(fp16|bf16|fp32|fp8|int8|int4|non_ema|ema)(?=[.-])|^consolidated\."  # in a file that holds the same weights in another form
UNNEEDED = ("training_args.bin", "optimizer.bin", "scheduler.bin")
OTHER_FRAMEWORKS = ("onnx", "openvino", "coreml", "runs", "original")  # folders; the last has LLaMA's weights once more, as Meta keeps them


def find_checkpoint(name: str | os.PathLike, *, download: bool = False, revision: str | None = None) -> Path:
    """The file or folder that a name stands for: a path, or a hub name such as "laion/clap-htsat-unfused" that the local cache holds.

    Args:
      download: whether what is not in the cache may be fetched; an interrupted download goes on where it stopped, and every file is
        compared with the hash that the hub has of it.
      revision: branch, tag or commit; the hub's default branch otherwise.

    Raises:
      UsageError: neither a path nor a name that is in the cache (or, with `download`, on the hub); a revision of a path.
      AudiojaxError: the download failed, or a file is not what the hub says it is.
    """
    path = Path(name).expanduser()
    if path.exists():
        if revision is not None:
            raise UsageError(f"{shown(path)}: is here already; 'revision' is for a name on the hub: leave it out")
        return path
    repo = str(name)
    if not is_hub_name(repo):
        raise UsageError("; ".join([f"{shown(repo)}: no such file or folder", *advice_on(repo)]))
    return _download(repo, revision) if download else _cached(repo, revision)


def is_hub_name(name: str) -> bool:
    """Whether the text can be the name of a repository, "owner/name" or a bare "name"."""
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except ValueError:
        return False
    return True


def advice_on(name: str | os.PathLike, revision: str | None = None) -> list[str]:
    """How what a name stands for may be had, as part of an error: the page where its authors publish it, or the command that fetches it
    from the hub; nothing for what is rather a path."""
    path, known = Path(name), entry_of(str(name))
    if known is not None and known.where:
        return [f"it is published at {known.where}"]
    repo = known.name if known else str(name)
    a_path = path.suffix in (*WEIGHT_FILES, ".ckpt") or path.parent != Path() and path.parent.exists()
    if known is None and (a_path or "/" not in repo or not is_hub_name(repo)):
        return []
    return [f"from the hub: audiojax weights {f'convert {repo} --revision {revision} --download' if revision else f'fetch {repo}'}"]


def wanted_files(files: Iterable[str]) -> list[str]:
    """Of the files of a repository those that a tower is made from: in every folder one form of the weights, and the small files.

    Whole names come before their variants such as model.fp16.safetensors, and safetensors before torch's pickles.
    """
    folders: dict[str, list[str]] = {}
    for file in files:
        path = PurePosixPath(file)
        if path.parts[0] not in OTHER_FRAMEWORKS and path.name not in UNNEEDED:
            folders.setdefault(str(path.parent), []).append(file)
    wanted = []
    for names in folders.values():
        wanted += [name for name in names if name.endswith(SMALL_FILES)]
        weights = [name for name in names if name.endswith(WEIGHT_FILES)]
        weights = [name for name in weights if not re.search(VARIANT, PurePosixPath(name).name)] or weights
        forms = ([name for name in weights if name.endswith(ending)] for ending in WEIGHT_FILES)
        wanted += next(filter(None, forms), [])
    return sorted(wanted)


def licence_of(path: Path) -> str | None:
    """The licence that the model card (README.md) beside the weights names, such as "apache-2.0"; None where there is none."""
    from huggingface_hub import metadata_load

    folder = path if path.is_dir() else path.parent
    for card in (folder / "README.md", folder.parent / "README.md"):  # the second for one part of a pipeline
        if not card.is_file():
            continue
        try:
            facts = metadata_load(card) or {}
        except Exception:  # whatever a front matter can be that is no YAML
            continue
        name = facts.get("license_name") or facts.get("license")
        if isinstance(name, str | list):
            return name if isinstance(name, str) else ", ".join(map(str, name))
    return None


def _cached(repo: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Others may have fetched a part of the repository alone; what these two patterns leave out is not looked for.
        return Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=["config.json", "model_index.json"]))
    except LocalEntryNotFoundError as error:
        said = f"{repo}: no such file or folder, and not in the hub cache {shown(constants.HF_HUB_CACHE)}"
        raise UsageError("; ".join([said, *advice_on(repo, revision)])) from error


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{repo}: cannot be downloaded while HF_HUB_OFFLINE is set; unset it")
    api = HfApi()
    try:
        info = api.model_info(repo, revision=revision)
        files = wanted_files(file.rfilename for file in info.siblings)
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=files))
        checked = api.verify_repo_checksums(repo, revision=folder.name)
    except GatedRepoError as error:
        raise UsageError(f"{repo}: its licence must be accepted on huggingface.co, and `hf auth login` run once") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UsageError(f"{repo}: the hub has no such repository or revision") from error
    except Exception as error:  # of the hub, the disk, or whichever HTTP client this version of huggingface_hub has
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AudiojaxError(f"{repo}: could not be downloaded ({reason}); the same call goes on where this one stopped") from error
    for bad in checked.mismatches:  # a file of the snapshot is a link into the cache's blobs
        (folder / bad["path"]).resolve().unlink(missing_ok=True)
        (folder / bad["path"]).unlink(missing_ok=True)
    if checked.mismatches:
        raise AudiojaxError(f"{repo}: {checked.mismatches[0]['path']} arrived damaged and was removed; download again")
    return folder
