"""`audiojax evaluate`: the scores of a trained run that finds, describes, bridges or makes sounds, beside chance and ceiling."""

from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import (
    add_caption_models,
    add_captioner_options,
    add_sound_test,
    caption_models,
    captioner_options,
    file_named,
    named_folder,
    sound_test,
    whole_number,
)
from audiojax.files import shown

EXAMPLES = """
audiojax evaluate --workdir runs/diffatr --split test
audiojax evaluate --workdir runs/diffatr --domain field --out field      # out of domain; field/scores.json and field/report.html
audiojax evaluate --workdir runs/dac --candidates 5 --steps 10             # captions; five a clip for diversity
audiojax evaluate --workdir runs/dac --clap runs/towers/clap             # also the CLAP score; and --bertscore, --fense, --judge
audiojax evaluate --workdir runs/audiocaps --data-dir /data/clotho       # a data set that the run was not trained on
audiojax evaluate --workdir runs/re_audioldm --backbone runs/towers/tagger --steps 20 --sampler dpm++ --clips 100   # made sounds
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", type=named_folder, required=True, metavar="DIR", help="folder of a finished run, or of an exported model"
    )
    parser.add_argument("--split", default="test", help="of the run's data set (default: %(default)s)")
    parser.add_argument("--domain", choices=("studio", "field"), help="another SoundWorld domain than the run's own")
    parser.add_argument("--data-dir", type=named_folder, metavar="DIR", help="another data set in the README's schema than the run's own")
    place = "of report.html, scores.json, ... (default: WORKDIR/evaluation/SPLIT[-OTHER_DATA])"
    parser.add_argument("--out", type=named_folder, metavar="DIR", help=place)
    parser.add_argument("--probes", action="store_true", help="also ask for SoundWorld's minimal pairs: order, count, binding")
    parser.add_argument(
        "--candidates",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="captions of each clip, for diversity, or sounds to choose from (default: %(default)s)",
    )
    add_captioner_options(parser)
    add_sound_test(parser)
    add_caption_models(parser)
    parser.add_argument(
        "--batch-size", type=whole_number(1), metavar="N", help="clips described, or sounds made, at a time (default: 16, or what is usual)"
    )
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the scores with intervals as CSV")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.sections import MetricTable
    from audiojax.report.tables import metric_rows, print_section, write_file

    where = {"domain": args.domain, "data_dir": args.data_dir, "out": args.out}
    sounds = sound_test(args)
    written = {"candidates": args.candidates, "batch_size": args.batch_size, "options": captioner_options(args)}
    written = {"sounds": sounds} if sounds else written | {"models": caption_models(args)}
    found = api.evaluate(args.workdir, args.split, **where, probes=args.probes, **written, progress=not args.quiet)
    for section in found.sections:
        print_section(section)
    if args.csv:
        write_file(args.csv, metric_rows(section for section in found.sections if isinstance(section, MetricTable)))
    print(shown(found.json), shown(found.report), sep="\n")
