"""`audiojax data`: a look at a data set on disk, the same packed for training, the synthetic SoundWorld set, a page to listen to it."""

from argparse import REMAINDER, ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from audiojax.cli.parsing import file_named, named_folder, whole_number
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.folders import data_home

EXAMPLES = """
audiojax data check ~/data/clotho                         # which layout, what is missing, damaged, silent or in two splits
audiojax data check ~/data/audiocaps --fast --csv faults.csv
audiojax data pack ~/data/clotho --out packed             # then: audiojax train ... --config.data.dir=packed/clotho
audiojax data pack ~/data/wavcaps --out packed --sample-rate 48000 --max-seconds 30 --workers 16
audiojax data pack /nfs/wavcaps --out /nfs/packed --beam --beam-options --runner=DirectRunner --direct_num_workers=8
audiojax data soundworld                                  # mini, studio, into the user's data folder
audiojax data soundworld --size base --domain field --data-dir /big/disk
audiojax data listen --out soundworld.html                # hear and see every class
audiojax data listen --out bells.html --classes church_bell gong
"""


def add_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="check|pack|soundworld|listen")
    _add_check(kinds)
    _add_pack(kinds)
    build = kinds.add_parser("soundworld", help="build the set", description="build the set; a finished build is left as it is")
    build.add_argument("--size", default="mini", help="mini, base, large, or a multiple of base such as 0.02 (default: %(default)s)")
    build.add_argument("--domain", default="studio", choices=("studio", "field"), help="acoustics and wording (default: %(default)s)")
    build.add_argument("--data-dir", type=named_folder, metavar="DIR", help="where to (default: $AUDIOJAX_DATA or the user's data folder)")
    build.add_argument("--seed", type=int, default=0, help="of the world (default: %(default)s)")
    build.add_argument("--sample-rate", type=whole_number(8_000, 96_000), default=16_000, metavar="HZ", help="default: %(default)s")
    build.add_argument("--seconds", type=_seconds, default=3.84, help="length of a clip, 3.84 or more (default: %(default)s)")
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
    _add_folder(check)
    check.add_argument("--fast", action="store_true", help="leave the sounds undecoded: lists and files only")
    check.add_argument("--min-seconds", type=_seconds, default=0.5, metavar="S", help="warn of shorter clips (default: %(default)s)")
    check.add_argument("--workers", type=whole_number(1), metavar="N", help="decoding processes (default: one per core, at most 4)")
    check.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write all numbers and faults as JSON")
    check.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write all faults as CSV")
    check.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_pack(kinds: Any) -> None:
    what = "decode, resample and cut a folder of captioned sounds, in any usual layout, into ArrayRecord shards that training reads. "
    what += "The same command goes on where it was stopped; a finished set is left as it is"
    pack = kinds.add_parser("pack", help="store a data set for training", description=what)
    _add_folder(pack)
    pack.add_argument("--out", type=named_folder, required=True, metavar="DIR", help="folder of packed sets; this one goes to DIR/NAME")
    rates = whole_number(1_000, 384_000)
    pack.add_argument("--sample-rate", type=rates, default=32_000, metavar="HZ", help="of the stored clips (default: %(default)s)")
    cut = "cut longer clips; 0 = never (default: 10 for AudioCaps, 30 for Clotho, else 0)"
    pack.add_argument("--max-seconds", type=_seconds, metavar="S", help=cut)
    pack.add_argument("--workers", type=whole_number(1), metavar="N", help="decoding processes (default: one per core)")
    pack.add_argument(
        "--beam", action="store_true", help="decode on Apache Beam, a shard an element; DIR must lie where its workers see it"
    )
    pack.add_argument("--beam-options", nargs=REMAINDER, metavar="OPTION", help="everything after it goes to Beam: --runner=... and so on")
    pack.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=named_folder, metavar="DIR", help="searched with its subfolders")
    parser.add_argument("--name", choices=("audiocaps", "clotho", "wavcaps", "folder"), help="whose it is, where that cannot be told")


def run(args: Namespace) -> int:
    if args.kind == "check":
        return _check(args)
    if args.kind == "pack":
        return _pack(args)
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


def _pack(args: Namespace) -> int:
    if args.beam_options is not None and not args.beam:
        raise UsageError("--beam-options without --beam: add it, or leave them out")
    if args.beam and args.workers:
        raise UsageError("--workers is for packing here; on Beam the options of its runner say how many: see --beam-options")
    from audiojax.data.layouts.read import read_dataset
    from audiojax.data.recordings import REPORT, pack, read_report
    from audiojax.report.packing import packing_sections
    from audiojax.report.tables import print_section

    settings = {"sample_rate": args.sample_rate, "max_seconds": args.max_seconds, "workers": args.workers}
    options = (args.beam_options or []) if args.beam else None
    folder = pack(read_dataset(args.folder, name=args.name), args.out, **settings, beam_options=options, progress=not args.quiet)
    for section in packing_sections(read_report(folder), folder / REPORT):
        print_section(section)
    print(shown(folder))
    return 0


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
