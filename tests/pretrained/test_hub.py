"""Names become folders: paths, the local hub cache, and downloads from a hub that runs on this machine."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from audiojax.errors import UsageError
from audiojax.pretrained.hub import advice_on, find_checkpoint, is_hub_name, licence_of, wanted_files
from tests.pretrained.hub_server import COMMIT, HubServer

REPO = "lab/model"
WEIGHTS = bytes(range(256)) * 400
FILES = {
    "README.md": b"---\nlicense: cc-by-nc-sa-4.0\n---\n# A model\n",
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle" * 200,
    "onnx/model.onnx": b"another framework",
}
CALLS = """
import sys
from audiojax.pretrained.hub import find_checkpoint
for word in sys.argv[1:]:
    try:
        print(find_checkpoint("lab/model", download=word == "download"))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def calls(tmp_path):
    """Runs find_checkpoint in a process whose hub is `server`, once for each word, and returns what it printed."""

    def run(server, *words):
        environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
        environment |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run([sys.executable, "-c", CALLS, *words], env=environment, capture_output=True, text=True, timeout=120)
        return done.stdout.splitlines()

    return run


def downloads(server, name):
    return [ranged for method, path, ranged in server.requests if method == "GET" and path.endswith(f"/{name}")]


def test_nothing_is_fetched_unasked_and_nothing_twice(calls, tmp_path):
    with HubServer(REPO, FILES) as server:
        before, got, again, cached = calls(server, "look", "download", "download", "look")
        assert before.startswith("UsageError: lab/model: no such file or folder, and not in the hub cache")
        folder = tmp_path / "home/hub/models--lab--model/snapshots" / COMMIT
        assert {got, again, cached} == {str(folder)}
        assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        assert licence_of(folder) == "cc-by-nc-sa-4.0"
        assert len(downloads(server, "model.safetensors")) == 1


def test_a_broken_download_goes_on_where_it_stopped(calls):
    weights = WEIGHTS * 256  # 26 MB, of which the first answer has half; the client keeps whole pieces of 10 MB
    with HubServer(REPO, FILES | {"model.safetensors": weights}, broken=("model.safetensors",)) as server:
        (folder,) = calls(server, "download")
        with open(f"{folder}/model.safetensors", "rb") as file:
            assert file.read() == weights
        first, second = downloads(server, "model.safetensors")
        assert first == ""
        assert int(second.removeprefix("bytes=").removesuffix("-")) >= 10**7


def test_a_hub_that_cannot_be_reached_is_named(calls):
    (said,) = calls(SimpleNamespace(url="http://127.0.0.1:9"), "download")
    assert said.startswith("AudiojaxError: lab/model: could not be downloaded (")


def test_a_file_that_arrives_changed_is_refused_and_not_kept(calls):
    with HubServer(REPO, FILES, wrong=("model.safetensors",)) as server:
        (refused,) = calls(server, "download")
        assert refused == "AudiojaxError: lab/model: model.safetensors arrived damaged and was removed; download again"
        server.wrong = ()
        (folder,) = calls(server, "download")
        with open(f"{folder}/model.safetensors", "rb") as file:
            assert file.read() == WEIGHTS


def test_paths_come_first(tmp_path):
    assert find_checkpoint(tmp_path) == tmp_path
    with pytest.raises(UsageError, match="no such file or folder"):
        find_checkpoint(tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot be downloaded while HF_HUB_OFFLINE is set"):
        find_checkpoint(REPO, download=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("owner/name", ["from the hub: audiojax weights fetch owner/name"]),
        ("roberta-large", ["from the hub: audiojax weights fetch FacebookAI/roberta-large"]),
        ("gpt2", []),
        ("/data/Cnn14_mAP=0.431.pth", ["it is published at https://zenodo.org/records/3987831"]),
        ("BEATs_iter3_plus_AS2M.pt", ["it is published at https://github.com/microsoft/unilm/tree/master/beats"]),
        ("weights/mine.pt", []),
        ("tests/nothing", []),  # beside the tests
        ("../x", []),
        ("~/x", []),
    ],
)
def test_what_is_missing_may_be_had_somewhere(name, advice, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert advice_on(name) == advice


def test_a_revision_is_converted_for_other_commands_look_for_the_default():
    assert advice_on("owner/name", "v1") == ["from the hub: audiojax weights convert owner/name --revision v1 --download"]


@pytest.mark.parametrize(("name", "known"), [("owner/name", True), ("gpt2", True), ("a/b/c", False), ("../x", False), ("", False)])
def test_names_of_the_hub(name, known):
    assert is_hub_name(name) == known


def test_one_form_of_the_weights_in_each_folder():
    files = [
        *("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors"),
        *("vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin", "tokenizer/merges.txt", "training_args.bin"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tf_model.h5"),
    ]
    assert wanted_files(files) == [
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "model_index.json"),
        *("tokenizer/merges.txt", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin"),
    ]


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (["music_audioset_epoch_15_esc_90.14.pt"], []),  # a dot that begins no variant
        (["Cnn14_mAP=0.431.pth", "README.md"], []),
        (["unet/model.fp16.safetensors"], []),  # there is no other
        (["model.safetensors"], ["model.fp16.safetensors", "model.bf16.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin"]),
        (["model.bin"], ["model.fp16.safetensors", "model.non_ema.bin"]),
        (["a-00001-of-00002.bin", "a-00002-of-00002.bin"], ["a.fp16-00001-of-00001.bin", "a.ema.bin"]),
        (["pytorch_model.bin"], ["model.fp16.safetensors", "model.int8.safetensors"]),  # of another name
        (["model-00001-of-00001.safetensors"], ["original/consolidated.00.pth", "consolidated.safetensors"]),
        (["consolidated.00.pth", "params.json"], []),
    ],
)
def test_variants_are_left_where_the_whole_name_is(wanted, left):
    assert wanted_files(left + wanted) == sorted(wanted)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama2\n---\n", "llama2"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\n[: not yaml\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("no front matter", None),
    ],
)
def test_licences(tmp_path, card, licence):
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "unet").mkdir()
    assert licence_of(tmp_path) == licence
    assert licence_of(tmp_path / "unet") == licence


def test_no_card_no_licence(tmp_path):
    assert licence_of(tmp_path / "inner") is None
