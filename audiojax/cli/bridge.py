"""`audiojax bridge`: CLAP embeddings of sounds turned into text-like ones by a run of Diffusion-Link."""

import sys
from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import file_named, whole_number
from audiojax.files import shown

EXAMPLES = """
audiojax bridge ~/sounds --model runs/link --out bridged.npz
audiojax bridge clap.index --model runs/link --out bridged.npz          # made by audiojax index with the same CLAP
audiojax bridge embeddings.npy --model runs/link --out bridged.npy      # [n, d], of the same CLAP
audiojax bridge "~/sounds/**/*.wav" --model runs/link --out bridged.npz --seed 1
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="sound files, folders with their subfolders, or patterns in quotes; or one sound index; or one .npy or .npz file",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a run of Diffusion-Link, or of an exported model")
    parser.add_argument(
        "--out",
        required=True,
        type=file_named(".npz", ".npy"),
        metavar="FILE",
        help=".npz with the arrays embeddings, raw, files and, of an index, starts; .npy with the embeddings alone",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="decides the noise (default: %(default)s)")
    parser.add_argument("--batch-size", type=whole_number(1), metavar="N", help="windows of sounds embedded at a time (default: 32)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> int:
    """Exit code 1 where a sound file that was asked for is left out."""
    from audiojax import api

    bridge = api.load_bridge(args.model)
    found = api.bridge_files(bridge, args.sources, args.out, seed=args.seed, batch_size=args.batch_size, progress=not args.quiet)
    if found.tally.bad:
        print(found.tally.summary(), *found.tally.lines(), sep="\n", file=sys.stderr)
    arrays = found.arrays
    files = f" of {len(set(arrays['files'].tolist()))} files" if "files" in arrays else ""
    print(f"{shown(args.out)}: {len(arrays['embeddings'])} embeddings{files} of width {bridge.width}")
    return 1 if found.tally.bad else 0
