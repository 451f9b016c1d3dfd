"""`audiojax score-audio`: how near generated sounds are to real ones, and how well they fit their prompts."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import file_named, number

EXAMPLES = """
audiojax score-audio out/ ~/audiocaps/test --backbone Cnn14_16k_mAP=0.438.pth
audiojax score-audio out/ ~/audiocaps/test --backbone Cnn14_16k_mAP=0.438.pth --clap laion/clap-htsat-unfused --captions test.csv
audiojax score-audio out/ soundworld:test,base --backbone runs/towers/tagger     # truth known: accuracy of head, tail and unseen classes
audiojax score-audio out/ ~/some/sounds --unpaired --backbone runs/towers/tagger --json scores.json --csv scores.csv --out report.html
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("generated", help="folder of generated sounds, with its subfolders")
    parser.add_argument(
        "reference", help="folder of real sounds whose files have the same names, or a split of SoundWorld: soundworld:test,mini,studio"
    )
    parser.add_argument(
        "--backbone",
        required=True,
        metavar="NAME",
        help="CNN14 whose embeddings and tags are compared: weights of PANNs, or a tagger's run",
    )
    parser.add_argument("--window", type=number(0.1), metavar="S", help="seconds that the backbone hears at a time (default: its own)")
    parser.add_argument("--clap", metavar="NAME", help="also the CLAP score, with this model")
    parser.add_argument("--captions", metavar="FILE", help="CSV or TSV of the prompts, for --clap; SoundWorld brings its own")
    parser.add_argument("--unpaired", action="store_true", help="compare two sets of sounds that have nothing to do with each other")
    parser.add_argument("--allow-missing", action="store_true", help="measure the sounds that both have")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the scores, the card and each sound's values")
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the scores with intervals as CSV")
    parser.add_argument("--out", type=file_named(".html"), metavar="FILE", help="also write a report with players")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.sections import MetricTable
    from audiojax.report.tables import metric_rows, print_section, write_file

    options = {name: getattr(args, name) for name in ("clap", "captions", "window", "unpaired", "allow_missing", "out")}
    found = api.score_audio(args.generated, args.reference, args.backbone, **options, progress=not args.quiet)
    for section in found.sections:
        print_section(section)
    for remark in found.remarks:
        print(remark, file=sys.stderr)
    if args.csv:
        write_file(args.csv, metric_rows(section for section in found.sections if isinstance(section, MetricTable)))
    if args.json:
        write_file(args.json, found.rows(), extra={"scores": found.scores, "card": found.card})
    if found.report:
        print(found.report)
