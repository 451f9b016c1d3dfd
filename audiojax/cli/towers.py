"""`audiojax towers`: CLAP, AudioMAE, BEATs, BERT, T5, LLaMA and the evaluation tagger, trained on SoundWorld; the same command goes on."""

from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import named_folder
from audiojax.files import shown

EXAMPLES = """
audiojax towers                                       # all seven, in some minutes: runs/towers/clap and so on
audiojax towers --size base --workdir runs/base_towers
audiojax towers --only bert t5                        # these text towers alone
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--size", choices=("mini", "base", "debug"), default="mini", help="of the data and training (default: %(default)s)")
    parser.add_argument(
        "--workdir", type=named_folder, default="runs/towers", metavar="DIR", help="receives a run for each tower (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", default=(), metavar="TOWER", help="some of clap, audiomae, beats, bert, t5, tagger, llama")
    parser.add_argument("--domain", choices=("studio", "field"), default="studio", help="of CLAP's pairs (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.tables import print_section

    found = api.train_towers(args.workdir, size=args.size, only=args.only, domain=args.domain, progress=not args.quiet)
    for section in found.sections:
        print_section(section)
    print(shown(found.table), shown(found.report), sep="\n")
