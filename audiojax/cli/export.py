"""`audiojax export`: the finished model as one folder to keep or to send."""

from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import named_folder
from audiojax.files import shown

EXAMPLES = """
audiojax export --workdir runs/diffatr --out models/diffatr
audiojax search "rain on a roof" --audio ~/sounds --model models/diffatr
audiojax export --workdir runs/towers/clap --out clap_for_torch --format safetensors    # a tower in its public layout
audiojax export --workdir runs/plain --vocoder runs/vocoder --out audioldm_for_torch --format safetensors   # diffusers' pipeline
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", type=named_folder, required=True, metavar="DIR", help="folder of a finished run, or of a converted tower (safetensors)"
    )
    parser.add_argument("--out", type=named_folder, required=True, metavar="DIR", help="folder to write; must not hold anything yet")
    parser.add_argument(
        "--format",
        default="orbax",
        choices=("orbax", "safetensors"),
        help="safetensors: the public layout of a tower, of AudioLDM, or of adapters (default: %(default)s)",
    )
    parser.add_argument("--vocoder", metavar="NAME", help="of AudioLDM as safetensors: a run or weights, where the run's config names none")


def run(args: Namespace) -> None:
    from audiojax import api

    print(shown(api.export(args.workdir, args.out, args.format, args.vocoder)))
