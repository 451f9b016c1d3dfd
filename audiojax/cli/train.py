"""`audiojax train`: a run from a config file; the same command goes on where a run was stopped."""

from argparse import ArgumentParser, Namespace

from audiojax.cli.parsing import named_folder

OVERRIDES = True
EXAMPLES = """
audiojax train --config configs/diffatr/soundworld.py --workdir runs/diffatr
audiojax train --config diffatr/soundworld:base --workdir runs/base           # an installed config, with its argument
audiojax train --config diffatr/soundworld --workdir runs/x --config.diffusion.steps=10 --config.seed=1
bash launch/local.sh -n 2 -- audiojax train --config diffatr/soundworld --workdir runs/two
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG]", help="a config file or an installed name; any key of it is --config.KEY=VALUE"
    )
    parser.add_argument(
        "--workdir", type=named_folder, required=True, metavar="DIR", help="folder of the run; a run that is there is resumed"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: Namespace) -> None:
    from audiojax.config import load_config

    config = load_config(args.config, args.overrides)  # a misspelt key is told before jax has started
    from audiojax import api

    api.train(config, args.workdir, progress=not args.quiet)
