"""`audiojax demo`: the whole job on synthetic sounds, on any machine."""

from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import named_folder

EXAMPLES = """
audiojax demo                             # runs/demo: a trained model and report.html
audiojax demo --out runs/demo --all       # test it in a world it has not heard, too
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=named_folder, default="runs/demo", metavar="DIR", help="folder of the run and its report (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="also test with rooms, microphones and wording that training never met")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: Namespace) -> None:
    from audiojax import api

    api.demo(args.out, all=args.all, progress=not args.quiet)
