"""The command line: one thin file per subcommand, each of which calls one function of `audiojax.api`.

A subcommand's module is imported when it is run, so `audiojax --help` and `audiojax doctor` work even where jax does not.
Each has EXAMPLES (shown by -h), `add_arguments(parser)` and `run(args)`; OVERRIDES = True lets it take `--config.key=value`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from audiojax.cli.environment import prepare
from audiojax.cli.parsing import Parser, nearest, take_overrides
from audiojax.errors import AudiojaxError, UsageError

COMMANDS = {
    "demo": "train a small model on synthetic sounds, search with it, write an HTML report",
    "train": "train the model of a config file; run it again to resume",
    "evaluate": "measure a trained run on a split, beside chance and ceiling",
    "index": "embed a folder of sound files once, to search in it again and again",
    "search": "rank the sound files of a folder or an index by how well they fit a description or a sound",
    "caption": "describe sound files in words, in a table that the same command goes on with",
    "generate": "make sounds from descriptions, or new ones from a sound that there is",
    "page": "open a page in the browser of this machine to make, describe or find sounds",
    "bridge": "turn CLAP embeddings of sounds into text-like ones, from sound files, an index or an array",
    "score": "measure the captions of a table against people's: BLEU, CIDEr-D, METEOR, SPICE, BERTScore, FENSE, CLAP, a judge",
    "score-audio": "measure generated sounds against real ones: Frechet distance, FAD, KID, KL, Inception score, CLAP score",
    "export": "write the parameters and config that audiojax.load opens",
    "sweep": "train a grid of settings over several seeds and compare them",
    "weights": "list, look into and convert public checkpoints: CLAP, PANNs, BERT, T5, LLaMA, AudioLDM, ...",
    "towers": "train the small towers of SoundWorld that the papers start from, and measure them",
    "data": "look at a data set on disk, pack it for training, build the synthetic SoundWorld set or its listening sheet",
    "bench": "time our kernels, search and packing beside PyTorch, faiss and plain loops on this machine",
    "doctor": "show what is installed, which devices there are, and what is missing",
}

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit code: 0 done, 1 failed, 2 misused, 130 interrupted."""
    _replace_what_cannot_be_shown()
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    words = [word for i, word in enumerate(words) if word != "--debug" or i > end]
    try:
        try:
            code = _dispatch(words)
        except SystemExit as stop:  # argparse after -h, rich on a closed pipe
            code = stop.code if isinstance(stop.code, int) else 0
        if sys.stdout is not None:  # as where it was closed from the start
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("audiojax: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone; nothing is left to flush
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            raise
        print(f"audiojax: {_message(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, AudiojaxError) else 1


def _replace_what_cannot_be_shown() -> None:
    """A character that the encoding of standard output or error lacks becomes "?": nothing else is lost for it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):  # the others write it in some way
            stream.reconfigure(errors="replace")


def _dispatch(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        return _top_level(words)
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(f"there is no command '{name}'{nearest(name, COMMANDS)} See audiojax --help")
    command = import_module(f"audiojax.cli.{name.replace('-', '_')}")
    parser = Parser(f"audiojax {name}", COMMANDS[name], command.EXAMPLES)
    command.add_arguments(parser)
    overrides: list[str] = []
    if getattr(command, "OVERRIDES", False):
        rest, overrides = take_overrides(rest)
    args = parser.parse_args(rest)
    args.overrides = overrides
    if name != "doctor":  # which must also run where this fails
        prepare()
    return command.run(args) or 0


def _top_level(words: list[str]) -> int:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    examples = """audiojax demo
audiojax search "a dog barks while rain falls" --audio ~/sounds --model runs/demo
audiojax caption ~/sounds --model runs/dac --out captions.csv
audiojax generate "rain on a roof" --model cvssp/audioldm-s-full-v2 --out rain.wav
audiojax search -h            # options and examples of one command"""
    parser = Parser("audiojax", "Finds, describes and makes sound: audio-language diffusion in JAX.", examples, commands=commands)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.usage = "audiojax <command> [options]"
    args = parser.parse_args(words)
    if args.version:
        from audiojax import __version__

        print(f"audiojax {__version__}")
    else:
        parser.print_help()
    return 0


def _message(error: Exception) -> str:
    if isinstance(error, AudiojaxError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    first = (str(error).splitlines() or [""])[0]
    return f"internal error, {type(error).__name__}: {first}\nRun the command again with --debug to see where."
