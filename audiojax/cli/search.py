"""`audiojax search`: the sound files of a folder or an index, ranked by how well they fit a description, a sound, or both."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiojax.cli.parsing import file_named, named_folder, number, whole_number
from audiojax.errors import UsageError
from audiojax.files import shown

if TYPE_CHECKING:
    from audiojax.api.finding.search import Searcher
    from audiojax.index.search import Hit, Index

EXAMPLES = """
audiojax search "a dog barks while rain falls" --audio ~/sounds --model runs/demo
audiojax search "church bell" --audio ~/sounds --model runs/demo -k 5 --csv hits.csv --html hits.html
audiojax search "rain on a roof" --audio ~/sounds --model laion/clap-htsat-unfused    # from the hub's local cache
audiojax search "rain on a roof" --index sounds.index                                 # made by audiojax index
audiojax search --like bark.wav --index sounds.index
audiojax search "but far away" --like bark.wav --weight 0.3 --index sounds.index
audiojax search "rain on a roof" --index clap.index --rerank 50 --rerank-model runs/diffatr
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("query", nargs="?", help="the description, in quotes")
    parser.add_argument("--like", metavar="FILE", help="a sound that the results should be like, alone or with a description")
    parser.add_argument(
        "--weight", type=number(0, 1), default=0.5, metavar="W", help="of the description beside --like (default: %(default)s)"
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--index", type=named_folder, metavar="INDEX", help="folder that audiojax index has made")
    place.add_argument("--audio", type=named_folder, metavar="DIR", help="folder of sound files, searched with its subfolders")
    parser.add_argument("--model", metavar="DIR", help="folder of a run, an exported model, or a public CLAP (default: the index's own)")
    parser.add_argument("-k", type=whole_number(1), default=10, metavar="N", help="number of results (default: %(default)s)")
    parser.add_argument(
        "--rerank", type=whole_number(0), metavar="N", help="best files that are looked at again (default: the model's own number)"
    )
    parser.add_argument("--rerank-model", metavar="DIR", help="folder of the run that re-ranks (default: the model itself, where it does)")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the results as CSV")
    parser.add_argument("--html", type=file_named(".html"), metavar="FILE", help="also write a page with players and spectrograms")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    check(args)
    from audiojax import api
    from audiojax.audio.io import AS_IT_IS, open_blocks
    from audiojax.report.results import shorten, write_results
    from audiojax.report.sections import Table
    from audiojax.report.tables import print_section, write_file

    if args.like and args.audio:
        open_blocks(Path(args.like).expanduser(), AS_IT_IS)  # what cannot be read shows before the folder is embedded
    finder, index = opened(args)
    reranker = api.load_reranker(args.rerank_model) if args.rerank_model else None
    hits = finder.search(args.query, k=args.k, audio=args.like, weight=args.weight, rerank=args.rerank, reranker=reranker)
    asked = " and ".join([f"“{text}”" for text in (args.query,) if text] + [f"like {shown(path)}" for path in (args.like,) if path])
    table = [(i, f"{hit.score:.3f}", shorten(hit.path, index.root), f"{hit.start:.1f}", f"{hit.end:.1f}") for i, hit in enumerate(hits, 1)]
    print_section(Table(asked, ("rank", "score", "file", "from s", "to s"), table))
    for path in filter(None, (args.json, args.csv)):
        write_file(path, [as_row(rank, hit) for rank, hit in enumerate(hits, 1)])
    if args.html:
        print(shown(write_results(args.html, asked, hits, root=index.root)))


def check(args: Namespace) -> None:
    """UsageError for words that do not go together, before anything is loaded."""
    if args.query is None and args.like is None:
        raise UsageError('nothing to look for: give a description, as in audiojax search "rain on a roof" ..., or --like FILE')
    if args.query is not None and not args.query.strip():
        raise UsageError('the query is empty: say what to look for, as in audiojax search "rain on a roof" ...')
    if args.audio and not args.model:
        raise UsageError("--audio needs --model: the folder of a run, or of a public CLAP")
    if args.like and (args.rerank or args.rerank_model):
        raise UsageError("--rerank goes by a description alone; leave out --like, or --rerank and --rerank-model")


def opened(args: Namespace) -> "tuple[Searcher, Index]":
    """The model, ready to search, and what it searches in."""
    from audiojax import api

    if args.index:
        index = api.Index.open(args.index)
        finder = api.load_finder(args.model or index.settings.model)
        finder.use(index)
        return finder, index
    finder = api.load_finder(args.model)
    index = finder.index(args.audio, progress=not args.quiet)
    if index.skipped:
        print(index.tally.summary(), *index.tally.lines(), sep="\n", file=sys.stderr)
    return finder, index


def as_row(rank: int, hit: "Hit") -> dict[str, Any]:
    """A hit as a flat record for a file."""
    return {"rank": rank, "score": hit.score, "cosine": hit.cosine, "file": shown(hit.path), "start": hit.start, "end": hit.end}
