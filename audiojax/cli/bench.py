"""`audiojax bench`: our networks, search and packing beside PyTorch, faiss and plain loops, wins and losses alike."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

from audiojax.bench import bridge, captioning, coattention, index, packing, pair_denoiser, towers
from audiojax.bench.harness import MIN_QUIET, Row
from audiojax.cli.parsing import file_named, nearest, whole_number
from audiojax.errors import AudiojaxError, UsageError

CASES = ("pair_denoiser", "coattention", "bridge", "captioning", "index", *towers.CASES, "packing")
GROUPS = {"llama": tuple(name for name in towers.CASES if name.startswith("llama_"))}
EXAMPLES = """
audiojax bench                                        # all cases at published size, beside torch where it is installed
audiojax bench unet bert --torch-forms channels_last bfloat16
audiojax bench pair_denoiser --queries 500 --no-torch
audiojax bench generate --steps 200 --torch-forms compile
audiojax bench train_step --batch 16 --torch-forms compile bfloat16   # on a GPU
audiojax bench coattention --no-torch                 # pairs a second, and the GFLOP/s beside a plain matrix product
audiojax bench bridge --embeddings 100000
audiojax bench captioning --tokens 64                 # DAC in 4, 8 and 34 steps beside the same size word by word
audiojax bench packing                                # audiojax data pack beside a loop over soundfile and soxr
audiojax bench --json bench.json --allow-noise        # ratios also on a busy machine, marked as noisy
audiojax bench --small --allow-noise                  # whether everything runs here, in a few minutes
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"which to run: {', '.join((*CASES, *GROUPS))} (default: all)")
    parser.add_argument("--small", action="store_true", help="run every case at tiny size: a test of the bench, not of speed")
    sizes = {"queries": "queries a call (5000)", "width": "joint width (1024)", "torch-queries": "queries a call of torch (200)"}
    for name, text in sizes.items():
        parser.add_argument(f"--{name}", type=whole_number(1), metavar="N", help=f"of pair_denoiser: {text}")
    parser.add_argument("--steps", type=whole_number(1), metavar="N", help="diffusion steps of pair_denoiser (50) and generate (20)")
    parser.add_argument("--batch", type=whole_number(1), metavar="N", help="of train_step: latents a step (2)")
    parser.add_argument("--embeddings", type=whole_number(1), metavar="N", help="of bridge: embeddings a call, in whole batches (8192)")
    parser.add_argument("--tokens", type=whole_number(1), metavar="N", help="of captioning: tokens of a caption (32)")
    parser.add_argument(
        "--torch-forms",
        nargs="+",
        choices=towers.FORMS,
        default=(),
        metavar="FORM",
        help="rows beside torch eager in float32, for the cases that have them: channels_last, compile (both float32), bfloat16 "
        "(eager; many CPUs take minutes for a call of pair_denoiser)",
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
    from audiojax.report.tables import print_section, write_file

    names = chosen(args.cases)
    forms = () if args.no_torch or not find_spec("torch") else tuple(dict.fromkeys(("eager", *args.torch_forms)))
    if not forms and not args.no_torch:
        print('torch is not installed, so only our side is timed; pip install -e ".[parity]" brings it', file=sys.stderr)
    rows, failed = [], []
    for name in names:
        try:
            made = [replace(row, case=f"{row.case} (small)") if args.small else row for row in measure(name, forms, args)]
        except AudiojaxError as error:  # the others may work
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print_section(as_table(made))
        rows += made
    for path in filter(None, (args.json, args.csv)):
        write_file(path, [row.as_dict() for row in rows])
    if failed:
        raise AudiojaxError(f"{len(failed)} of {len(names)} cases failed: {', '.join(failed)}; the reasons are above")


def chosen(words: Sequence[str]) -> list[str]:
    """The cases that are named, alone or as a group, each once; all where none is. UsageError for a name that there is not."""
    for word in words:
        if word not in CASES and word not in GROUPS:
            raise UsageError(f"there is no bench '{word}'{nearest(word, (*CASES, *GROUPS))} There is {', '.join((*CASES, *GROUPS))}")
    return list(dict.fromkeys(name for word in words or CASES for name in GROUPS.get(word, (word,))))


def measure(name: str, forms: Sequence[str], args: Namespace) -> list[Row]:
    """The rows of one case; what happens meanwhile goes to standard error."""

    def report(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    if name == "index":
        here = find_spec("faiss") is not None
        if not here and not args.no_torch:
            report('faiss is not installed, so only our side is timed; pip install -e ".[parity]" brings it')
        options = (index.SMALL if args.small else {}) | {"faiss": here and not args.no_torch}
        return index.run(**options, samples=args.samples, allow_noise=args.allow_noise, report=report)
    if name == "packing":
        return packing.run(small=args.small, samples=args.samples, allow_noise=args.allow_noise, report=report)
    if name == "captioning":
        options = (captioning.SMALL if args.small else {}) | ({"tokens": args.tokens} if args.tokens else {})
        return captioning.run(**options, samples=args.samples, allow_noise=args.allow_noise, report=report)
    if name == "pair_denoiser":
        asked = {key: getattr(args, key) for key in ("queries", "steps", "width", "torch_queries") if getattr(args, key) is not None}
        known, work = pair_denoiser.FORMS, partial(pair_denoiser.run, **(pair_denoiser.SMALL if args.small else {}) | asked)
    elif name == "coattention":
        known, work = coattention.FORMS, partial(coattention.run, **(coattention.SMALL if args.small else {}))
    elif name == "bridge":
        asked = {"embeddings": args.embeddings} if args.embeddings else {}
        known, work = bridge.FORMS, partial(bridge.run, **(bridge.SMALL if args.small else {}) | asked)
    else:
        asked = {"generate": (2, args.steps), "train_step": (0, args.batch)}.get(name, (0, None))
        shape = {} if asked[1] is None else dict([asked])
        known, work = towers.CASES[name].forms, partial(towers.run, name, small=args.small, shape=shape)
    if absent := [form for form in forms if form not in known]:
        report(f"has no torch {', '.join(absent)}")
    present = [form for form in forms if form in known]
    return work(torch_forms=present, samples=args.samples, allow_noise=args.allow_noise, report=report)


def as_table(rows: Sequence[Row]):
    """The rows of a case as a report table; the last column is our rate over theirs (above 1 we are faster)."""
    from audiojax.report.sections import Table

    columns = ("side", "items/s", "s a call", "fastest", "GFLOP/s", "compile s", "MiB", "quiet", "we are ×")
    lines = []
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.3g}"
        gflops = "–" if row.gflops is None else f"{row.gflops:.3g}"
        seconds = (f"{row.median:.3g}", f"{row.minimum:.3g}", gflops, f"{row.compile_seconds:.1f}")
        lines.append((row.side, f"{row.per_second:.4g}", *seconds, f"{row.memory_mib:.0f}", f"{row.quiet}/{row.samples}", ratio))
    notes = "\n".join(dict.fromkeys(f"{row.side}: {row.note}" for row in rows if row.note))
    devices = f"Ran on: {'; '.join(f'{row.side}: {row.device}' for row in rows)}."
    quiet = "quiet = samples during which other programs used less than a tenth of a core; only they count where there are enough."
    return Table(rows[0].case, columns, lines, "\n".join(filter(None, (notes, devices, quiet))))
