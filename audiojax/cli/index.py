"""`audiojax index`: makes the sound index of a folder, brings it up to date, or checks it."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import named_folder, number
from audiojax.errors import UsageError
from audiojax.files import shown

EXAMPLES = """
audiojax index ~/sounds --model runs/demo --out sounds.index
audiojax index ~/sounds --out sounds.index      # again: new and changed files are embedded, removed ones go
audiojax index ~/sounds --model laion/clap-htsat-unfused --out sounds.index --dtype float16 --hop 5
audiojax index --check --out sounds.index       # is it still what was stored?
audiojax search "rain on a roof" --index sounds.index
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=named_folder, metavar="DIR", help="folder of sound files, searched with its subfolders")
    parser.add_argument(
        "--out", type=named_folder, required=True, metavar="INDEX", help="folder of the index; one that is there is brought up to date"
    )
    parser.add_argument("--model", metavar="DIR", help="folder of a run, an exported model, or a public CLAP (default: the index's own)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), help="of the stored vectors; float16 takes half the space (default: float32)"
    )
    parser.add_argument("--hop", type=number(0.01), metavar="SECONDS", help="between window starts (default: windows do not overlap)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="read all of the index at --out, compare it with the checksums that it was stored with, and change nothing; "
        "searching never does, which would take several times as long with it",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.sections import Card
    from audiojax.report.tables import print_section

    if args.check:
        if args.folder is not None:
            raise UsageError(f"--check looks at the index alone: leave out {shown(args.folder)}")
        print_section(_checked(args.out, progress=not args.quiet))
        return
    if args.folder is None:
        raise UsageError("DIR is missing: name the folder of sound files, or --check an index that is there")
    model = args.model or api.Index.open(args.out).settings.model
    index = api.load_finder(model).index(args.folder, args.out, hop=args.hop, dtype=args.dtype, progress=not args.quiet)
    if index.skipped:
        print(index.tally.summary(), *index.tally.lines(), sep="\n", file=sys.stderr)
    card = {
        "files": len(index),
        "windows": index.windows,
        "hours": round(index.hours, 3),
        "newly embedded": index.computed,
        "silent": len(index.silent),
        "left out": ", ".join(f"{reason} {count}" for reason, count in index.tally.counts().items()) or "none",
        "vectors": index.settings.dtype,
        "MiB": round(index.bytes / 2**20, 1),
        "model": shown(index.settings.model),
    }
    print_section(Card(f"Index {shown(args.out)}", card))


def _checked(folder: str, progress: bool):
    """A card about an index that was found whole."""
    from audiojax.index.check import check_index
    from audiojax.report.sections import Card

    parts = check_index(folder, progress=progress).parts
    without = sum(part.crc32 is None for part in parts)
    card = {
        "files of the index": len(parts),
        "MiB": round(sum(part.bytes for part in parts) / 2**20, 1),
        "as stored": len(parts) - without,
        "without a checksum": f"{without}; make the index anew to have them" if without else 0,
    }
    return Card(f"Index {shown(folder)}", card)
