"""`audiojax bench`: our kernels beside plain PyTorch on this machine, wins and losses alike, with compile time apart."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec

from audiojax.bench.harness import MIN_QUIET, Row
from audiojax.cli.parsing import file_named, nearest, whole_number
from audiojax.errors import UsageError

CASES = ("pair_denoiser",)
EXAMPLES = """
audiojax bench                                        # all cases at published size, beside torch where it is installed
audiojax bench pair_denoiser --queries 500 --no-torch
audiojax bench --json bench.json --allow-noise        # ratios also on a busy machine, marked as noisy
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"which to run: {', '.join(CASES)} (default: all)")
    parser.add_argument("--queries", type=whole_number(1), default=5_000, metavar="N", help="queries a call (default: %(default)s)")
    parser.add_argument("--steps", type=whole_number(1), default=50, metavar="K", help="diffusion steps (default: %(default)s)")
    parser.add_argument("--width", type=whole_number(1), default=1_024, metavar="D", help="joint width (default: %(default)s)")
    parser.add_argument(
        "--torch-queries", type=whole_number(1), default=200, metavar="N", help="queries a call of torch (default: %(default)s)"
    )
    parser.add_argument(
        "--torch-dtypes",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=("float32",),
        metavar="DTYPE",
        help="float32, bfloat16 or both (default: float32; many CPUs take minutes for a call in bfloat16)",
    )
    parser.add_argument("--no-torch", action="store_true", help="time our side alone")
    parser.add_argument(
        "--samples",
        type=whole_number(MIN_QUIET),
        default=MIN_QUIET,
        metavar="N",
        help="quiet samples of each side, at least %(default)s: a ratio needs as many (default: %(default)s)",
    )
    parser.add_argument("--allow-noise", action="store_true", help="print ratios although other programs were busy")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the rows as CSV")


def run(args: Namespace) -> None:
    for name in args.cases:
        if name not in CASES:
            raise UsageError(f"there is no bench '{name}'{nearest(name, CASES)} There is {', '.join(CASES)}")
    from audiojax.bench import pair_denoiser
    from audiojax.report.tables import print_section, write_file

    torch_dtypes = () if args.no_torch or not find_spec("torch") else tuple(args.torch_dtypes)
    if not torch_dtypes and not args.no_torch:
        print('torch is not installed, so only our side is timed; pip install -e ".[parity]" brings it', file=sys.stderr)
    rows = pair_denoiser.run(
        queries=args.queries,
        steps=args.steps,
        width=args.width,
        torch_queries=args.torch_queries,
        torch_dtypes=torch_dtypes,
        samples=args.samples,
        allow_noise=args.allow_noise,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print_section(as_table(rows))
    for path in filter(None, (args.json, args.csv)):
        write_file(path, [row.as_dict() for row in rows])


def as_table(rows: Sequence[Row]):
    """The rows as a report table; the last column is our rate over theirs (above 1 we are faster), and the note names the devices."""
    from audiojax.report.sections import Table

    columns = ("side", "items/s", "s a call", "fastest", "compile s", "MiB", "quiet", "we are ×")
    lines = []
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.3g}"
        seconds = (f"{row.median:.3g}", f"{row.minimum:.3g}", f"{row.compile_seconds:.1f}")
        lines.append((row.side, f"{row.per_second:.4g}", *seconds, f"{row.memory_mib:.0f}", f"{row.quiet}/{row.samples}", ratio))
    notes = "\n".join(dict.fromkeys(f"{row.side}: {row.note}" for row in rows if row.note))
    devices = f"Ran on: {'; '.join(f'{row.side}: {row.device}' for row in rows)}."
    quiet = "quiet = samples during which other programs used less than a tenth of a core; only they count where there are enough."
    return Table(rows[0].case, columns, lines, "\n".join(filter(None, (notes, devices, quiet))))
