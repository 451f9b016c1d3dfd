"""`audiojax index`: makes the sound index of a folder, or brings it up to date."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import number
from audiojax.files import shown

EXAMPLES = """
audiojax index ~/sounds --model runs/demo --out sounds.index
audiojax index ~/sounds --out sounds.index      # again: new and changed files are embedded, removed ones go
audiojax index ~/sounds --model laion/clap-htsat-unfused --out sounds.index --dtype float16 --hop 5
audiojax search "rain on a roof" --index sounds.index
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of sound files, searched with its subfolders")
    parser.add_argument("--out", required=True, metavar="INDEX", help="folder of the index; one that is there is brought up to date")
    parser.add_argument("--model", metavar="DIR", help="folder of a run, an exported model, or a public CLAP (default: the index's own)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), help="of the stored vectors; float16 takes half the space (default: float32)"
    )
    parser.add_argument("--hop", type=number(0.01), metavar="SECONDS", help="between window starts (default: windows do not overlap)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.sections import Card
    from audiojax.report.tables import print_section

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
