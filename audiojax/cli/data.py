"""`audiojax data`: a look at a data set on disk, the synthetic SoundWorld set, and a page to listen to its classes."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from audiojax.cli.parsing import file_named, whole_number
from audiojax.files import shown
from audiojax.folders import data_home

EXAMPLES = """
audiojax data check ~/data/clotho                         # which layout, what is missing, damaged, silent or in two splits
audiojax data check ~/data/audiocaps --fast --csv faults.csv
audiojax data soundworld                                  # mini, studio, into the user's data folder
audiojax data soundworld --size base --domain field --data-dir /big/disk
audiojax data listen --out soundworld.html                # hear and see every class
audiojax data listen --out bells.html --classes church_bell gong
"""


def add_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="check|soundworld|listen")
    _add_check(kinds)
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


def _add_check(kinds: Any) -> None:
    what = "say what a folder of captioned sounds holds: AudioCaps, Clotho, WavCaps or any other, in any usual layout"
    check = kinds.add_parser("check", help="look at a data set on disk", description=what)
    check.add_argument("folder", metavar="DIR", help="searched with its subfolders")
    check.add_argument("--name", choices=("audiocaps", "clotho", "wavcaps", "folder"), help="whose it is, where that cannot be told")
    check.add_argument("--fast", action="store_true", help="leave the sounds undecoded: lists and files only")
    check.add_argument("--min-seconds", type=_seconds, default=0.5, metavar="S", help="warn of shorter clips (default: %(default)s)")
    check.add_argument("--workers", type=whole_number(1), metavar="N", help="decoding processes (default: one per core, at most 4)")
    check.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write all numbers and faults as JSON")
    check.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write all faults as CSV")
    check.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> int:
    if args.kind == "check":
        return _check(args)
    print(shown(_build(args) if args.kind == "soundworld" else _listen(args)))
    return 0


def _check(args: Namespace) -> int:
    """0 where some clip can be used, else 1."""
    from audiojax.data.check import check
    from audiojax.report.data_check import check_rows, check_sections, check_summary
    from audiojax.report.tables import print_section, write_file

    options = {"fast": args.fast, "min_seconds": args.min_seconds, "workers": args.workers}
    report = check(args.folder, name=args.name, progress=not args.quiet, **options)
    for section in check_sections(report):
        print_section(section)
    if args.json:
        write_file(args.json, check_rows(report), extra=check_summary(report))
    if args.csv:
        write_file(args.csv, check_rows(report))
    return 0 if report.clips else 1


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"must be seconds, like 0.5, not '{text}'")
    return value


def _build(args: Namespace) -> Path:
    from audiojax.data.soundworld.builder import build

    folder = args.data_dir or data_home()
    return build(args.size, args.domain, folder, args.seed, args.sample_rate, args.seconds, workers=args.workers)


def _listen(args: Namespace) -> Path:
    from audiojax.data.soundworld.listening import write_sheet

    return write_sheet(args.out, args.domain, args.classes, args.seed)
