#!/usr/bin/env bash
# bash launch/tpu_pod.sh --name TPU --zone ZONE [options] -- COMMAND [ARGUMENT ...]
#
# Copies this folder to every worker of a Cloud TPU VM or pod slice that is already running, sets audiojax up there, and runs the
# command on all workers at once; jax.distributed finds the pod by itself:
#
#   bash launch/tpu_pod.sh --name my-pod --zone us-central2-b -- \
#     audiojax train --config configs/diffatr/audiocaps.py --workdir /mnt/shared/runs/audiocaps
#
# Needs gcloud, logged in, and a --workdir on a file system that all workers share. What git tracks is copied, so commit first.
#
#   --name TPU      name of the TPU VM
#   --zone ZONE     its zone
#   --project P     its project (default: that of gcloud)
#   --folder DIR    folder on the workers, below the home folder (default: audiojax)
#   --dry-run       print the commands, do nothing
#   -h, --help      this text
set -euo pipefail
# shellcheck source=launch/setup_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

name="" zone="" project="" folder="audiojax" dry=""
read_options "--name --zone --project --folder" "$@"
[ -n "$name" ] || fail "--name is needed; see $0 -h" 2
[ -n "$zone" ] || fail "--zone is needed; see $0 -h" 2
case "$folder" in /* | *[!A-Za-z0-9._/-]* | '') fail "--folder '$folder': letters, digits and ._-/ only, below the home folder" 2 ;; esac

target=(--zone="$zone" --worker=all)
[ -z "$project" ] || target+=(--project="$project")
quoted="$(printf '%q ' "${command[@]}")"
unpack="mkdir -p $folder && tar -xzf audiojax.tgz -C $folder"
work="cd $folder && source launch/setup_env.sh && audiojax_setup tpu && export AUDIOJAX_DISTRIBUTED=auto PATH=\$AUDIOJAX_VENV/bin:\$PATH && $quoted"

# step COMMAND...: runs it, or prints it.
step() {
    if [ -n "$dry" ]; then
        printf 'run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

archive="$(mktemp -d)/audiojax.tgz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
if [ -z "$dry" ]; then
    command -v gcloud >/dev/null 2>&1 || fail "gcloud was not found: install the Google Cloud CLI and run gcloud auth login"
    [ -z "$(git -C "$AUDIOJAX_ROOT" status --porcelain)" ] || say "Some changes are not committed: the workers get the last commit."
fi
step git -C "$AUDIOJAX_ROOT" archive --format=tar.gz --output="$archive" HEAD
step gcloud compute tpus tpu-vm scp "$archive" "$name:audiojax.tgz" "${target[@]}"
step gcloud compute tpus tpu-vm ssh "$name" "${target[@]}" --command="$unpack"
step gcloud compute tpus tpu-vm ssh "$name" "${target[@]}" --command="bash -c $(printf '%q' "$work")"
