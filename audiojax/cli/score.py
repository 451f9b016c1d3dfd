"""`audiojax score`: how well the captions of a table agree with people's, and how varied they are."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import add_caption_models, caption_models, file_named, named_folder
from audiojax.errors import UsageError

EXAMPLES = """
audiojax score captions.csv references.csv                 # columns: file (or id, ...) and caption, or caption_1, caption_2, ...
audiojax score captions.csv clotho_captions_evaluation.csv --metrics cider_d,meteor,spice,spider
audiojax score captions.csv references.csv --allow-missing --json scores.json --csv scores.csv
audiojax score captions.csv references.csv --bertscore roberta-large --bertscore-idf
audiojax score captions.csv references.csv --fense models/paraphrase-TinyBERT-L6-v2 --fense-detector echecker_clotho_audiocaps_base.ckpt
audiojax score captions.csv references.csv --clap laion/clap-htsat-unfused --audio ~/clotho/evaluation
audiojax score captions.csv references.csv --judge my_judge.py:score       # def score(caption, references): return 0.7
audiojax score captions.csv references.csv --judge TinyLlama/TinyLlama-1.1B-Chat-v1.0
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("captions", help="CSV or TSV of a system's captions; several a clip with a column candidate, or in caption_1, ...")
    parser.add_argument("references", help="CSV or TSV of people's captions, one a row or in caption_1, ...")
    parser.add_argument(
        "--metrics",
        type=lambda text: tuple(text.split(",")),
        metavar="NAMES",
        help="with commas between: bleu, rouge_l, cider_d, diversity (these by default), meteor, spice, spider (these need Java)",
    )
    add_caption_models(parser)
    parser.add_argument("--audio", type=named_folder, metavar="DIR", help="folder of the sounds, for --clap")
    parser.add_argument("--allow-missing", action="store_true", help="score the clips that both files have")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the scores, the card and each clip's values")
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the scores with intervals as CSV")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.sections import MetricTable
    from audiojax.report.tables import metric_rows, print_section, write_file

    if (args.clap is None) != (args.audio is None):
        raise UsageError("--clap and --audio go together: the model, and the folder of the sounds")
    options = {"metrics": args.metrics} if args.metrics else {}
    options |= {"models": caption_models(args), "audio": args.audio}
    found = api.score(args.captions, args.references, **options, allow_missing=args.allow_missing, progress=not args.quiet)
    for section in found.sections:
        print_section(section)
    if found.pairs.faults:
        print(found.pairs.summary(), file=sys.stderr)
    if args.csv:
        write_file(args.csv, metric_rows(section for section in found.sections if isinstance(section, MetricTable)))
    if args.json:
        write_file(args.json, found.rows(), extra={"scores": found.scores, "card": found.card})
