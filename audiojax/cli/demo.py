"""`audiojax demo`: the whole job on synthetic sounds, on any machine."""

from argparse import ArgumentParser, Namespace

EXAMPLES = """
audiojax demo                             # runs/demo: a trained model and report.html
audiojax demo --out runs/demo --all       # everything there is to show
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder of the run and its report (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="show every system, not just the first; takes longer")


def run(args: Namespace) -> None:
    from audiojax import api

    api.demo(args.out, all=args.all)
