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

count="" dry=""
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help)
        usage "$0"
        exit 0
        ;;
    -n)
        [ $# -gt 1 ] || fail "-n needs a value; see $0 -h" 2
        count="$2"
        shift 2
        ;;
    --dry-run)
        dry=yes
        shift
        ;;
    --)
        shift
        break
        ;;
    *) fail "unknown flag '$1': the command comes after --; see $0 -h" 2 ;;
    esac
done
[ $# -gt 0 ] || fail "no command: write it after --, as in -- audiojax train ...; see $0 -h" 2

[ -z "$count" ] || set -- bash "$AUDIOJAX_ROOT/launch/local.sh" -n "$count" -- "$@"
if [ -n "$dry" ]; then
    audiojax_plan cuda
    echo "run: $*"
    exit 0
fi
nvidia-smi --list-gpus >&2 2>/dev/null || fail "nvidia-smi lists no GPU: is the NVIDIA driver installed? For the CPU use launch/local.sh"
audiojax_setup cuda
PATH="$AUDIOJAX_VENV/bin:$PATH" exec "$@"
