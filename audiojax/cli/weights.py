"""`audiojax weights`: public checkpoints, listed, fetched, looked into, and converted to Orbax."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, is_dataclass
from typing import Any

from audiojax.cli.parsing import named_folder
from audiojax.errors import UsageError
from audiojax.files import shown

EXAMPLES = """
audiojax weights list                                        # what opens by name, its licence, and what this machine has
audiojax weights show ~/models/clap-htsat-unfused            # kind, sizes, tensors; nothing is loaded
audiojax weights show cvssp/audioldm-s-full-v2 --part unet --tensors
audiojax weights fetch laion/clap-htsat-unfused             # into the hub's local cache, where every command finds it by its name
audiojax weights convert laion/clap-htsat-unfused --out models/clap
audiojax weights convert cvssp/audioldm --part unet --set heads=diffusers --out models/unet
"""
FLAGS = ("part", "dtype", "download", "revision", "out", "tensors", "sha256")  # are no options of a checkpoint


def add_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="action", required=True, metavar="list|fetch|show|convert")
    text = "list the public checkpoints that open by name"
    kinds.add_parser("list", help=text, description=text)
    text = "download a checkpoint from the Hugging Face hub, checked, into its local cache"
    fetch = kinds.add_parser("fetch", help=text, description=text)
    fetch.add_argument("name", metavar="NAME", help="on the hub, such as cvssp/audioldm-s-full-v2")
    text = "say what a checkpoint is, without loading it"
    show = kinds.add_parser("show", help=text, description=text)
    show.add_argument("--tensors", action="store_true", help="list every tensor")
    show.add_argument("--sha256", action="store_true", help="also hash the file, which reads all of it")
    text = "write a checkpoint as Orbax, with config, source hash and licence"
    convert = kinds.add_parser("convert", help=text, description=text)
    convert.add_argument("--out", type=named_folder, required=True, metavar="DIR", help="folder to write; must not hold anything yet")
    convert.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of the weights (default: %(default)s)"
    )
    convert.add_argument("--download", action="store_true", help="fetch the name from the hub if the local cache does not have it")
    convert.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub")
    for command in (show, convert):
        command.add_argument("name", metavar="NAME", help="a folder, a file, or a name on the Hugging Face hub")
        command.add_argument("--part", metavar="PART", help="of a pipeline: unet, vae, vocoder or text_encoder; unet_ema of a .ckpt")
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of this kind of checkpoint")


def run(args: Namespace) -> None:
    {"list": _list, "fetch": _fetch, "show": _show, "convert": _convert}[args.action](args)


def _list(_: Namespace) -> None:
    from audiojax.api import weights
    from audiojax.report.sections import Table
    from audiojax.report.tables import print_section

    rows = []
    for entry in weights.CATALOG:
        place = entry.where or ("in the hub cache" if weights.cached(entry.name) else "")
        rows.append((entry.name, entry.tower, entry.licence, place))
    print_section(Table("Public checkpoints that open by name", ("name", "tower", "licence", "here"), rows))


def _fetch(args: Namespace) -> None:
    from audiojax.api import weights

    path, licence = weights.fetch(args.name)
    print(f"{shown(path)}; licence: {licence or 'not stated'}")


def _show(args: Namespace) -> None:
    from audiojax.api import weights
    from audiojax.report.sections import Card, Table
    from audiojax.report.tables import print_section

    found = weights.inspect(args.name, part=args.part, digest=args.sha256, **_options(args))
    used = len(found.tensors) - len(found.ignored)
    facts = {
        "file": f"{shown(found.source)} ({found.form})",
        "sha256": found.sha256,
        "tower": found.tower,
        "parameters": f"{found.parameters:,}",
        "tensors": f"{used} used, {len(found.ignored)} ignored",
        "licence": found.licence or "not stated",
        **_flat(found.config),
    }
    print_section(Card(f"Weights {shown(args.name)}", {key: str(value) for key, value in facts.items() if value is not None}))
    if args.tensors:
        ignored, rows = set(found.ignored), []
        for name, (shape, dtype) in found.tensors.items():
            rows.append((name, "x".join(map(str, shape)), dtype, "ignored" if name in ignored else ""))
        print_section(Table("Tensors", ("tensor", "shape", "dtype", ""), rows))


def _convert(args: Namespace) -> None:
    from audiojax.api import weights

    options = _options(args)
    where = {"part": args.part, "dtype": args.dtype, "download": args.download, "revision": args.revision}
    print(shown(weights.convert(args.name, args.out, **where, **options)))


def _options(args: Namespace) -> dict[str, Any]:
    """--set heads=diffusers --set bands=8 as {"heads": "diffusers", "bands": 8}; UsageError for what is no option of any checkpoint."""
    from audiojax.api.weights import KINDS

    known = sorted({option for kind in KINDS.values() for option in kind.options})
    options: dict[str, Any] = {}
    for word in args.set:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--set takes KEY=VALUE, such as heads=diffusers, not '{word}'")
        if key in FLAGS and hasattr(args, key):
            raise UsageError(f"--set {key}: has a flag of its own, --{key}")
        if key not in known:
            raise UsageError(f"--set {key}: no checkpoint has such an option; there are {', '.join(known)}")
        options[key] = int(value) if value.isdecimal() else value
    return options


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of a config, those of configs inside it by "audio.width"."""
    found: dict[str, Any] = {}
    for key, value in (asdict(config) if is_dataclass(config) else dict(config)).items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
