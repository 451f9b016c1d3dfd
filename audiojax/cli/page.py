"""`audiojax page`: a model in the browser of this machine."""

import ipaddress
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from audiojax.cli.parsing import add_maker_options, maker_options, named_folder, whole_number
from audiojax.errors import UsageError
from audiojax.files import shown

if TYPE_CHECKING:
    from audiojax.api.describing.captioning import Captioner
    from audiojax.api.finding.search import Searcher
    from audiojax.api.making.maker import Maker
    from audiojax.index.search import Index

EXAMPLES = """
audiojax page --model cvssp/audioldm-s-full-v2 --ranker laion/clap-htsat-unfused      # makes sounds
audiojax page --model runs/dac --port 8000                                            # describes them
audiojax page --index sounds.index                                                    # finds them, by the model of the index
audiojax page --model runs/demo --audio ~/sounds --no-browser
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", metavar="DIR", help="what audiojax generate, caption or search take (default: the index's own)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--index", type=named_folder, metavar="INDEX", help="for a model that finds: folder that audiojax index has made")
    place.add_argument(
        "--audio", type=named_folder, metavar="DIR", help="for a model that finds: folder of sound files, searched with its subfolders"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to serve the page at (default: %(default)s)")
    parser.add_argument("--port", type=whole_number(1, 65535), default=7860, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="say the address alone")
    add_maker_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and nothing about the weights")


def run(args: Namespace) -> None:
    check(args)
    from audiojax.page.serving import import_gradio, serve

    import_gradio()  # whose absence shows before the model is read
    serve(*opened(args), host=args.host, port=args.port, browser=not args.no_browser)


def check(args: Namespace) -> None:
    """UsageError for words that do not go together or cannot be served, before anything is loaded."""
    if is_ipv6(args.host):
        raise UsageError(f"--host {args.host}: IPv6 addresses are not served; take 127.0.0.1 or localhost")
    if not args.model and not args.index:
        raise UsageError("--model is missing: name what makes, describes or finds sounds; or an --index to search in")


def is_ipv6(host: str) -> bool:
    """Whether the text is an IPv6 address, bare or in brackets as in a URL."""
    try:
        ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def opened(args: Namespace) -> "tuple[Maker | Captioner | Searcher, Index | None]":
    """The model, and the index where it finds.

    Raises:
      UsageError: a model that does none of these, or options that are not for it.
    """
    from audiojax import api
    from audiojax.api.finding.search import Searcher
    from audiojax.api.making.maker_parts import is_maker
    from audiojax.cli import search
    from audiojax.towers.clap import ClapTower

    if args.index or args.audio:
        model, index = search.opened(args)
    elif maker_options(args) or is_maker(args.model):
        return api.load_maker(args.model, **maker_options(args), progress=not args.quiet), None
    else:
        model, index = api.load(args.model), None
    if given := list(maker_options(args)):
        raise UsageError(f"--{given[0].replace('_', '-')} is for models that make sounds, and {shown(args.model or args.index)} does not")
    if isinstance(model, api.Maker | api.Captioner) or index is not None:
        return model, index
    if isinstance(model, Searcher | ClapTower):
        raise UsageError(f"{shown(args.model)}: finds sounds: say where, with --index INDEX or --audio DIR")
    raise UsageError(f"{shown(args.model)}: holds a {type(model).__name__}, which neither makes, nor describes, nor finds sounds")
