"""`audiojax generate`: sounds from descriptions, and new ones from a sound that there is."""

import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from audiojax.cli.parsing import add_maker_options, file_named, maker_options, named_folder, number, whole_number
from audiojax.errors import UsageError
from audiojax.files import shown

EXAMPLES = """
audiojax generate "a bell, then footsteps" --model cvssp/audioldm-s-full-v2 --out bell.wav      # from the hub's local cache
audiojax generate "rain on a roof" --model audioldm-s --sampler dpm++ --steps 20 --seconds 5.12 --seed 3 --out rain.flac
audiojax generate --prompts prompts.txt --model audioldm-s --out sounds --report sounds.html    # again: what is missing is made
audiojax generate "a dog barks" --negative "music, hum" --candidates 3 --ranker laion/clap-htsat-unfused --model audioldm-s --out dog.wav
audiojax generate "a violin" --audio hum.wav --strength 0.6 --model audioldm-s --out violin.wav
audiojax generate "a door slams" --audio street.wav --inpaint 2:3.5 --model audioldm-s --out slam.wav
audiojax generate "a cuckoo" --model runs/re_audioldm --retrieval-datastore sounds.index --out cuckoo.wav   # from your own sounds
audiojax generate "waves on a beach" --audio waves.wav --extend 5 --model audioldm-s --out longer.wav
"""
ENDINGS = (".wav", ".flac")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="what is to be heard, in quotes")
    parser.add_argument("--prompts", metavar="FILE", help="a prompt a line, or a .csv: prompt and, where wanted, name, negative, seed")
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="a run; or a folder in the layout of cvssp/audioldm-*, its hub name, AudioLDM's .ckpt"
    )
    parser.add_argument(
        "--out", type=named_folder, required=True, metavar="PLACE", help="a .wav or .flac for one prompt; a folder, which is gone on with"
    )
    parser.add_argument("--report", type=file_named(".html"), metavar="FILE", help="also write a page with players and spectrograms")
    _add_sampling(parser)
    _add_reference(parser)
    add_maker_options(parser)
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", help="sounds made at a time (default: 4)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and nothing about the weights")


def _add_sampling(parser: ArgumentParser) -> None:
    parser.add_argument("--negative", default="", metavar="TEXT", help="what is not to be heard")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="decides what is drawn (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=number(0),
        metavar="T",
        help="length (default: that of the training clips, or of the reference; public weights: 10)",
    )
    parser.add_argument(
        "--steps", type=whole_number(1), default=200, metavar="N", help="calls of the U-Net; 20 do with dpm++ (default: %(default)s)"
    )
    parser.add_argument(
        "--guidance", type=number(0), default=3.5, metavar="W", help="how strongly the prompt steers (default: %(default)s)"
    )
    parser.add_argument("--sampler", choices=("ddim", "dpm++", "ddpm"), default="ddim", help="(default: %(default)s)")
    parser.add_argument("--eta", type=number(0, 1), default=1.0, metavar="E", help="chance in ddim, 0 for none (default: %(default)s)")
    parser.add_argument(
        "--candidates",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="made for each prompt; CLAP keeps the best (default: %(default)s)",
    )


def _add_reference(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("from a sound that there is")
    group.add_argument("--audio", metavar="FILE", help="the reference")
    group.add_argument(
        "--strength", type=number(0, 1), metavar="X", help="how far from it, 0 to 1 (default: 0.5; 1 with --inpaint and --extend)"
    )
    group.add_argument("--inpaint", type=stretch, metavar="START:END", help="make these seconds anew and keep the rest")
    group.add_argument("--extend", type=number(0), metavar="T", help="make so many seconds after its end")


def stretch(text: str) -> tuple[float, float]:
    """An argparse type: "2:3.5" as (2.0, 3.5)."""
    try:
        start, end = map(float, text.split(":"))
    except ValueError:
        start = end = 0.0
    if not 0 <= start < end < math.inf:
        raise ArgumentTypeError(f"must be two times in seconds like 2:3.5, not '{text}'")
    return start, end


def run(args: Namespace) -> None:
    check(args)
    from audiojax import api
    from audiojax.report.sound_page import write_sound_page

    wish = api.Wish(args.prompt or "", args.negative, args.seed)
    orders = api.read_prompts(args.prompts, args.negative, args.seed) if args.prompts else [api.order_of(wish)]
    maker = api.load_maker(args.model, **maker_options(args), progress=not args.quiet)
    reference = None
    if args.audio:
        heard = maker.hear(args.audio)
        if heard.file_rate != maker.sample_rate:
            print(f"{shown(args.audio)}: {heard.file_rate} Hz, resampled to {maker.sample_rate} Hz", file=sys.stderr)
        reference = api.reference_of(heard.samples, maker.geometry, seconds=args.seconds, inpaint=args.inpaint, extend=args.extend)
    how = {name: getattr(args, name) for name in ("sampler", "steps", "eta", "strength", "guidance", "seconds", "candidates")}
    plan, shared = maker.plan(reference, **how), {"batch_size": args.batch_size, "progress": not args.quiet}
    if args.out.endswith(ENDINGS):
        written = [api.write_one(maker, wish, args.out, plan, reference, **shared)]
        print(f"{shown(args.out)}: {written[0].seconds:g} s")
    else:
        written, new = api.write_sounds(maker, orders, args.out, plan, reference, **shared)
        print(f"{shown(args.out)}: {len(written)} sounds, {new} of them new")
    if args.report:
        page = write_sound_page(args.report, written, model=maker.source, reference=args.audio and Path(args.audio).expanduser())
        print(shown(page))


def check(args: Namespace) -> None:
    """UsageError for words that do not go together, before anything is loaded."""
    from audiojax.audio.io import EXTENSIONS

    if (args.prompt is None) == (args.prompts is None):
        raise UsageError('give either one prompt, as in audiojax generate "rain on a roof" ..., or --prompts FILE')
    if args.prompt is not None and not args.prompt.strip():
        raise UsageError('the prompt is empty: say what is to be heard, as in audiojax generate "rain on a roof" ...')
    ending = Path(args.out).suffix
    if ending not in ENDINGS and ending.lower() in EXTENSIONS:
        raise UsageError(f"--out {shown(args.out)}: sounds end in .wav or .flac, not in {ending}; a folder has no such ending")
    if args.prompts and args.out.endswith(ENDINGS):
        raise UsageError(f"--out {shown(args.out)}: names one sound, and --prompts makes several: name a folder")
    if not args.audio:
        for name in ("strength", "inpaint", "extend"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} says what becomes of a sound that there is: name it with --audio")
    if args.inpaint and args.extend is not None:
        raise UsageError("--inpaint and --extend: one at a time; extend first, then inpaint the result")
