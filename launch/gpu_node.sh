#!/usr/bin/env bash
# bash launch/gpu_node.sh [--dry-run] [-n N] -- COMMAND [ARGUMENT ...]
#
# One machine with one or more NVIDIA GPUs: makes .venv with the CUDA build of jax and runs the command over all of them, for example
#
#   bash launch/gpu_node.sh -- audiojax train --config configs/diffatr/soundworld.py:base --workdir runs/base
#
# By default one process drives all GPUs, which is the fastest for one machine.
#
#   -n N        N processes with an equal share of the GPUs each (see launch/local.sh)
#   --dry-run   say what would be done, do nothing
#   -h, --help  this text
set -euo pipefail
# shellcheck source=launch/setup_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

n="" dry=""
read_options "-n" "$@"

[ -z "$n" ] || command=(bash "$AUDIOJAX_ROOT/launch/local.sh" -n "$n" -- "${command[@]}")
if [ -n "$dry" ]; then
    audiojax_plan cuda
    echo "run: ${command[*]}"
    exit 0
fi
nvidia-smi --list-gpus >&2 2>/dev/null || fail "nvidia-smi lists no GPU: is the NVIDIA driver installed? For the CPU use launch/local.sh"
audiojax_setup cuda
PATH="$AUDIOJAX_VENV/bin:$PATH" exec "${command[@]}"
