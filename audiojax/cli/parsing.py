"""Argument parsing whose errors are UsageErrors that name the nearest flag."""

import argparse
import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from audiojax.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser without abbreviations, with examples, that raises UsageError instead of exiting."""

    def __init__(self, prog: str, description: str = "", examples: str = "", *, commands: str = ""):
        titled = {"commands:": commands, "examples:": "\n".join(f"  {line}" for line in examples.strip().splitlines())}
        super().__init__(
            prog=prog,
            description=description[:1].upper() + description[1:].rstrip(".") + "." if description else None,
            epilog="\n\n".join(f"{title}\n{text}" for title, text in titled.items() if text),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")  # taken out before parsing

    def flags(self) -> set[str]:
        """Every flag of this parser and of its subcommands."""
        return {flag for flag, _ in self._options()}

    def _options(self) -> Iterator[tuple[str, argparse.Action]]:
        yield from self._option_string_actions.items()
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from parser._options()

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> argparse.Namespace:
        """Parses; a flag that does not exist is reported before a required one that is missing, for it is usually the same."""
        known = self.flags()
        ends = {"--", *(flag for flag, action in self._options() if action.nargs == argparse.REMAINDER)}
        for word in args:
            if word in ends:  # what follows is not for this parser
                break
            flag = word.split("=", 1)[0]
            if flag.startswith("--") and flag not in known:
                raise UsageError(f"there is no flag {flag}{nearest(flag, known)} See {self.prog} -h")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See {self.prog} -h")


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the closest known word, or "." where none is close."""
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f"; did you mean '{near[0]}'?" if near else "."


def take_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits `--config.a.b=v` and `--config.a.b v` off the words: (the other words, ["a.b=v", ...])."""
    rest: list[str] = []
    overrides: list[str] = []
    pending = iter(words)
    for word in pending:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            value = next(pending, None)
            if value is None:
                raise UsageError(f"{word} has no value: write {word}=value")
        overrides.append(f"{key}={value}")
    return rest, overrides


def whole_number(low: int, high: int | None = None) -> Any:
    """An argparse type: an integer of at least `low` (and at most `high`)."""

    return partial(_bounded, int, "a whole number", low, high)


def number(low: float, high: float | None = None) -> Any:
    """An argparse type: a number of at least `low` (and at most `high`)."""
    return partial(_bounded, float, "a number", low, high)


def _bounded(kind: type, words: str, low: float, high: float | None, text: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value < math.inf or (high is not None and value > high):
        allowed = f"{words} from {low:g}" + (f" to {high:g}" if high is not None else " up")
        raise argparse.ArgumentTypeError(f"must be {allowed}, not '{text}'")
    return value


def named_folder(text: str) -> str:
    """An argparse type: the path of a folder. Nothing, as an unset variable of the shell gives, would be the current one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a folder")
    return text


def file_named(*endings: str) -> Any:
    """An argparse type: the path of a file to write, so that a wrong ending is found before the work and not after it."""

    def convert(text: str) -> str:
        if not text.endswith(endings):
            raise argparse.ArgumentTypeError(f"must end in {' or '.join(endings)}, not '{text}'")
        return text

    return convert


def whole_numbers(text: str) -> tuple[int, ...]:
    """An argparse type: "0,1,2" as (0, 1, 2)."""
    try:
        values = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between, like 0,1,2, not '{text}'") from None
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"names a number twice: '{text}'")
    return values


def add_caption_models(parser: argparse.ArgumentParser) -> None:
    """Measures of captions that need a model; see `caption_models`."""
    group = parser.add_argument_group("measures by models", "NAME is a folder, a name in the hub cache, or a run of `audiojax towers`")
    group.add_argument("--bertscore", metavar="NAME", help="BERTScore with a BERT or RoBERTa, such as roberta-large")
    group.add_argument("--bertscore-layer", type=whole_number(0), metavar="N", help="whose states are compared (default: the name's usual)")
    group.add_argument("--bertscore-idf", action="store_true", help="weigh tokens by how rare they are in the references")
    group.add_argument("--bertscore-baseline", metavar="FILE", help="rescale by a table of the public tool")
    group.add_argument("--fense", metavar="NAME", help="Sentence-BERT similarity, by paraphrase-TinyBERT-L6-v2 say; with a detector FENSE")
    group.add_argument("--fense-detector", metavar="FILE", help="finds broken captions: echecker_clotho_audiocaps_base.ckpt")
    group.add_argument("--clap", metavar="NAME", help="cosine of caption and sound with a CLAP")
    group.add_argument(
        "--judge", metavar="WHO", help="package.module:FUNCTION or FILE.py:FUNCTION, (caption, references) -> 0 to 1; or a LLaMA's NAME"
    )


def caption_models(args: argparse.Namespace) -> list[Any]:
    """The measures that are asked for, with their weights.

    Raises:
      UsageError: an option without the measure that it belongs to, or as the models raise.
    """
    from audiojax.api.describing import caption_models as models

    needs = {"bertscore_layer": "bertscore", "bertscore_idf": "bertscore", "bertscore_baseline": "bertscore", "fense_detector": "fense"}
    for option, measure in needs.items():
        if getattr(args, option) not in (None, False) and getattr(args, measure) is None:
            raise UsageError(f"--{option.replace('_', '-')} belongs to --{measure}: name its model")
    progress, found = not args.quiet, []
    if args.bertscore is not None:
        how = {"layer": args.bertscore_layer, "idf": args.bertscore_idf, "baseline": args.bertscore_baseline}
        found.append(models.BertScore(args.bertscore, **how, progress=progress))
    if args.fense is not None:
        found.append(models.Fense(args.fense, detector=args.fense_detector, progress=progress))
    if args.clap is not None:
        found.append(models.ClapScore(args.clap, progress=progress))
    if args.judge is not None:
        found.append(models.open_judge(args.judge, progress))
    return found


CAPTIONER_OPTIONS = ("steps", "guidance", "sampler", "beams", "top_p", "temperature")


def add_captioner_options(parser: argparse.ArgumentParser) -> None:
    """How a captioner writes; each model takes some of these and refuses the others."""
    own = "(default: the model's own)"
    parser.add_argument(
        "--steps", type=whole_number(1), metavar="N", help=f"denoising steps of a system that writes or makes sounds by diffusion {own}"
    )
    parser.add_argument("--guidance", type=number(0), metavar="W", help=f"weight of classifier-free guidance, 0 for none {own}")
    parser.add_argument("--sampler", metavar="NAME", help=f"of such a system: renoise, ddim, dpm++, ... {own}")
    parser.add_argument("--beams", type=whole_number(1), metavar="N", help=f"width of the beam of an autoregressive captioner {own}")
    parser.add_argument("--top-p", type=number(0, 1), metavar="P", help=f"share that an autoregressive captioner draws from {own}")
    parser.add_argument("--temperature", type=number(0), metavar="T", help=f"at which it draws, 0 for no drawing {own}")


def captioner_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those options that are given."""
    given = {name: getattr(args, name) for name in CAPTIONER_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def add_sound_test(parser: argparse.ArgumentParser) -> None:
    """How a system that makes sounds is measured, besides --clap, --steps, --guidance and --sampler."""
    group = parser.add_argument_group("a system that makes sounds")
    group.add_argument(
        "--backbone", metavar="NAME", help="CNN14 by which made sounds are compared with real ones: weights, or a tagger's run"
    )
    group.add_argument("--clips", type=whole_number(2), metavar="N", help="at most so many of the split, spread evenly (default: all)")
    group.add_argument("--ranker", metavar="NAME", help="a CLAP that picks among candidates")
    _add_retrieval_options(group)


def sound_test(args: argparse.Namespace, also: Iterable[str] = ()) -> Any:
    """The test of sounds that is asked for, None without --backbone.

    Args:
      also: further options of this command that say nothing without --backbone.

    Raises:
      UsageError: an option of that test without --backbone, or one beside it that is for systems that describe.
    """
    if args.backbone is None:
        given = [name for name in ("clips", "ranker", *RETRIEVAL_OPTIONS, *also) if getattr(args, name) is not None]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} belongs to --backbone, which systems that make sounds are measured by")
        return None
    from audiojax.api.making.evaluate import SoundTest

    foreign = ("beams", "top_p", "temperature", "bertscore", "fense", "judge")
    if given := [name for name in foreign if getattr(args, name, None) is not None]:
        raise UsageError(f"--{given[0].replace('_', '-')} is for systems that describe, and --backbone for those that make sounds")
    options = {name: getattr(args, name) for name in ("steps", "guidance", "sampler") if getattr(args, name) is not None}
    options |= {"candidates": args.candidates} if getattr(args, "candidates", 1) > 1 else {}
    opened = {"ranker": args.ranker, "retrieval": _retrieval_options(args)}
    return SoundTest(args.backbone, args.clap, args.clips, options, getattr(args, "batch_size", None), **opened)


MAKER_OPTIONS = ("heads", "dtype", "tokenizer", "ranker", "vocoder", "data_dir")
RETRIEVAL_MODES = ("clap", "random", "wrong_class", "oracle", "none")  # those of papers.re_audioldm, which takes seconds to import
RETRIEVAL_OPTIONS = ("retrieval_datastore", "retrieval_count", "retrieval_mode")


def add_maker_options(parser: argparse.ArgumentParser) -> None:
    """How a model that makes sounds is opened."""
    group = parser.add_argument_group("a model that makes sounds")
    public = "of public weights"
    group.add_argument("--heads", choices=("trained", "diffusers"), help=f"how the U-Net's attention is split, {public} (default: trained)")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help=f"of the computation, {public} (default: float32)")
    group.add_argument("--tokenizer", metavar="DIR", help="folder of roberta-base's, for a .ckpt (default: in the hub's local cache)")
    group.add_argument("--ranker", metavar="NAME", help="a CLAP that picks among candidates (default: the .ckpt's own)")
    group.add_argument("--vocoder", metavar="NAME", help="of a run: a run or weights in place of its config's, or of Griffin-Lim")
    group.add_argument(
        "--data-dir", type=named_folder, metavar="DIR", help="of a run that retrieves: where its packed data lie, if they were moved"
    )
    _add_retrieval_options(group)


def maker_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `audiojax.api.load_maker`, those that are given."""
    given = {name: getattr(args, name) for name in MAKER_OPTIONS} | {"retrieval": _retrieval_options(args)}
    return {name: value for name, value in given.items() if value}


def _add_retrieval_options(group: Any) -> None:
    """What a run of Re-AudioLDM retrieves, where it is not what its config says."""
    own = "(default: as it was trained)"
    group.add_argument(
        "--retrieval-datastore", metavar="NAME", help=f"splits of its data joined by +, or the folder of a sound index {own}"
    )
    group.add_argument("--retrieval-count", type=whole_number(1), metavar="K", help=f"clips retrieved for a prompt {own}")
    group.add_argument("--retrieval-mode", choices=RETRIEVAL_MODES, help=f"clap, none, or a control by SoundWorld's truth {own}")


def _retrieval_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keys of the config's section `retrieval` that are given."""
    given = {name.removeprefix("retrieval_"): getattr(args, name) for name in RETRIEVAL_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}
