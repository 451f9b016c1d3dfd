"""`audiojax data`: the synthetic SoundWorld set on disk, and a page to listen to its classes."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from audiojax.cli.parsing import file_named, whole_number
from audiojax.files import shown
from audiojax.folders import data_home

EXAMPLES = """
audiojax data soundworld                                  # mini, studio, into the user's data folder
audiojax data soundworld --size base --domain field --data-dir /big/disk
audiojax data listen --out soundworld.html                # hear and see every class
audiojax data listen --out bells.html --classes church_bell gong
"""


def add_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="soundworld|listen")
    build = kinds.add_parser("soundworld", help="build the set", description="build the set; a finished build is left as it is")
    build.add_argument("--size", default="mini", help="mini, base, large, or a multiple of base such as 0.02 (default: %(default)s)")
    build.add_argument("--domain", default="studio", choices=("studio", "field"), help="acoustics and wording (default: %(default)s)")
    build.add_argument("--data-dir", metavar="DIR", help="where to (default: $AUDIOJAX_DATA or the user's data folder)")
    build.add_argument("--seed", type=int, default=0, help="of the world (default: %(default)s)")
    build.add_argument("--sample-rate", type=whole_number(8_000, 96_000), default=16_000, metavar="HZ", help="default: %(default)s")
    build.add_argument("--seconds", type=float, default=3.84, help="length of a clip, 3.84 or more (default: %(default)s)")
    build.add_argument("--workers", type=whole_number(1), metavar="N", help="synthesising processes (default: one per core)")
    sheet = "write a page with sound, spectrogram and captions of every class"
    listen = kinds.add_parser("listen", help=sheet, description=sheet)
    listen.add_argument("--out", required=True, type=file_named(".html"), metavar="FILE.html", help="the page to write")
    listen.add_argument("--domain", default="studio", choices=("studio", "field"), help="default: %(default)s")
    listen.add_argument("--classes", nargs="+", metavar="NAME", help="only these (default: all)")
    listen.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def run(args: Namespace) -> None:
    print(shown(_build(args) if args.kind == "soundworld" else _listen(args)))


def _build(args: Namespace) -> Path:
    from audiojax.data.soundworld.builder import build

    folder = args.data_dir or data_home()
    return build(args.size, args.domain, folder, args.seed, args.sample_rate, args.seconds, workers=args.workers)


def _listen(args: Namespace) -> Path:
    from audiojax.data.soundworld.listening import write_sheet

    return write_sheet(args.out, args.domain, args.classes, args.seed)
