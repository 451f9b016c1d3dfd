"""`audiojax sweep`: a grid of settings over several seeds, compared with paired intervals; the same command goes on."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from audiojax.cli.parsing import add_sound_test, file_named, named_folder, number, sound_test, whole_number, whole_numbers
from audiojax.errors import UsageError
from audiojax.files import shown

OVERRIDES = True
EXAMPLES = """
audiojax sweep --config diffatr/soundworld --grid diffusion.steps=10,50,100,200 --workdir runs/steps
audiojax sweep --config diffatr/soundworld:base --grid loss.generation_weight=0.0,1.0 --seeds 0,1,2 \\
  --domains studio field --workdir runs/claims
audiojax sweep --config coattention/soundworld:base --grid argument=dual,single,stack,iterate --seeds 0,1,2 --probes \\
  --workdir runs/cascades
audiojax sweep --config re_audioldm/soundworld --grid argument=diffusion,plain --backbone runs/towers/tagger --clips 100 --steps 50 \\
  --workdir runs/retrieval
"""
SOUND_OPTIONS = {  # of systems that make sounds, each with its type, letter and help
    "steps": (whole_number(1), "N", "denoising steps of a sound"),
    "guidance": (number(0), "W", "weight of guidance"),
    "sampler": (str, "NAME", "ddim, dpm++ or ddpm"),
    "clap": (str, "NAME", "model of the CLAP score"),
}


def add_arguments(parser: ArgumentParser) -> None:
    shared = "config that all runs share; --config.KEY=VALUE changes it for all"
    parser.add_argument("--config", required=True, metavar="FILE[:ARG]", help=shared)
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        type=axis,
        metavar="KEY=A,B,C",
        help="values of one key, or of `argument`, which follow the config's own; several --grid are crossed",
    )
    parser.add_argument("--seeds", type=whole_numbers, default=(0,), metavar="0,1,2", help="seeds of every setting (default: 0)")
    parser.add_argument("--workdir", type=named_folder, required=True, metavar="DIR", help="folder of all runs; finished ones are kept")
    parser.add_argument("--split", default="test", help="what to evaluate on (default: %(default)s)")
    parser.add_argument(
        "--domains", nargs="+", default=(), choices=("studio", "field"), help="SoundWorld domains to test in (default: that of training)"
    )
    parser.add_argument("--probes", action="store_true", help="also ask for SoundWorld's minimal pairs: order, count, binding")
    add_sound_test(parser)
    for name, (kind, letter, said) in SOUND_OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=letter, help=f"{said}, of systems that make sounds")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: Namespace) -> None:
    keys = [key for key, _ in args.grid]
    if len(set(keys)) < len(keys):
        raise UsageError(f"--grid names a key twice: {', '.join(keys)}; put all its values into one --grid")
    from audiojax import api
    from audiojax.report.tables import print_section, write_file

    found = api.sweep(
        args.config,
        args.grid,
        args.seeds,
        args.workdir,
        overrides=args.overrides,
        domains=args.domains,
        split=args.split,
        probes=args.probes,
        sounds=sound_test(args, also=SOUND_OPTIONS),
        progress=not args.quiet,
    )
    for section in found.sections:
        print_section(section)
    if args.json:
        write_file(args.json, found.rows)
    print(shown(found.report))


def axis(text: str) -> tuple[str, tuple[str, ...]]:
    """ "a.b=1,2" as ("a.b", ("1", "2"))."""
    key, equals, values = text.partition("=")
    parts = tuple(part.strip() for part in values.split(","))
    if not (equals and key.strip() and all(parts)):
        raise ArgumentTypeError(f"is KEY=A,B,C, not '{text}'")
    if len(set(parts)) < len(parts):
        raise ArgumentTypeError(f"names a value twice: '{text}'")
    return key.strip(), parts
