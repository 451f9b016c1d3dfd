"""`audiojax caption`: sound files described in words, in a table that the same command goes on with."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import add_captioner_options, captioner_options, file_named, whole_number
from audiojax.files import shown

EXAMPLES = """
audiojax caption bark.wav rain.flac --model runs/dac
audiojax caption ~/sounds --model runs/dac --out captions.csv            # again: new and changed files are described
audiojax caption "~/sounds/**/*.wav" --model runs/dac --out captions.csv --candidates 5 --seed 1
audiojax caption ~/sounds --model runs/captions --beams 8                  # of a language model behind Diffusion-Link
audiojax caption ~/sounds --model runs/dac --steps 10 --guidance 0.5 --report captions.html
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("sounds", nargs="+", metavar="FILE", help="sound files, folders with their subfolders, or patterns in quotes")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a run that describes sounds, or of an exported model")
    parser.add_argument(
        "--out",
        type=file_named(".csv", ".json"),
        metavar="FILE",
        help="table of the captions, .csv or .json; what is in it stays",
    )
    parser.add_argument("--report", type=file_named(".html"), metavar="FILE", help="also write a page with players and spectrograms")
    parser.add_argument("--candidates", type=whole_number(1), default=1, metavar="N", help="captions of each window (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="decides what is drawn (default: %(default)s)")
    add_captioner_options(parser)
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", help="windows described at a time (default: 16)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> int:
    """Exit code 1 where a file that was asked for has no caption."""
    from audiojax import api
    from audiojax.report.caption_page import write_caption_page
    from audiojax.report.sections import Table
    from audiojax.report.tables import print_section

    captioner = api.load_captioner(args.model)
    found = api.write_captions(
        captioner,
        args.sounds,
        args.out,
        candidates=args.candidates,
        seed=args.seed,
        batch_size=args.batch_size,
        progress=not args.quiet,
        **captioner_options(args),
    )
    if found.tally.bad:
        print(found.tally.summary(), *found.tally.lines(), sep="\n", file=sys.stderr)
    if args.out:
        print(f"{shown(args.out)}: {len(found.captions)} captions of {found.tally.used} files, {found.written} of them new")
    else:
        rows = [(shown(one.path), f"{one.start:.1f}", f"{one.end:.1f}", one.text) for one in found.captions]
        print_section(Table(f"Captions by {shown(captioner.source)}", ("file", "from s", "to s", "caption"), rows))
    if args.report:
        print(shown(write_caption_page(args.report, found.captions, model=captioner.source)))
    return 1 if found.tally.bad else 0
