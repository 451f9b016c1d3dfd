"""`audiojax search`: the sound files of a folder, ranked by how well they fit a description."""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from audiojax.cli.parsing import file_named, whole_number
from audiojax.errors import UsageError
from audiojax.files import shown

if TYPE_CHECKING:
    from audiojax.api.search import Hit

EXAMPLES = """
audiojax search "a dog barks while rain falls" --audio ~/sounds --model runs/demo
audiojax search "church bell" --audio ~/sounds --model runs/demo -k 5 --csv hits.csv --html hits.html
audiojax search "rain on a roof" --audio ~/sounds --model laion/clap-htsat-unfused    # from the hub's local cache
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("query", help="the description, in quotes")
    parser.add_argument("--audio", required=True, metavar="DIR", help="folder of sound files, searched with its subfolders")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a run, of an exported model, or of a public CLAP")
    parser.add_argument("-k", type=whole_number(1), default=10, metavar="N", help="number of results (default: %(default)s)")
    parser.add_argument("--json", type=file_named(".json"), metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--csv", type=file_named(".csv"), metavar="FILE", help="also write the results as CSV")
    parser.add_argument("--html", type=file_named(".html"), metavar="FILE", help="also write a page with players and spectrograms")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax import api
    from audiojax.report.results import shorten, write_results
    from audiojax.report.sections import Table
    from audiojax.report.tables import print_section, write_file

    if not args.query.strip():
        raise UsageError('the query is empty: say what to look for, as in audiojax search "rain on a roof" ...')
    finder = api.load_finder(args.model)
    folder = finder.index(args.audio, progress=not args.quiet)
    if folder.skipped:
        print(folder.tally.summary(), *folder.tally.lines(), sep="\n", file=sys.stderr)
    hits = finder.search(args.query, k=args.k)
    table = [(rank, f"{hit.score:.3f}", shorten(hit.path, args.audio), f"{hit.start:.1f}") for rank, hit in enumerate(hits, 1)]
    print_section(Table(f"“{args.query}”", ("rank", "score", "file", "from s"), table))
    for path in filter(None, (args.json, args.csv)):
        write_file(path, [as_row(rank, hit) for rank, hit in enumerate(hits, 1)])
    if args.html:
        print(shown(write_results(args.html, args.query, hits, root=args.audio)))


def as_row(rank: int, hit: "Hit") -> dict[str, Any]:
    """A hit as a flat record for a file."""
    return {"rank": rank, "score": hit.score, "cosine": hit.cosine, "file": shown(hit.path), "start": hit.start}
