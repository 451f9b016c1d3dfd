#!/usr/bin/env bash
# bash launch/local.sh -n N [--dry-run] -- COMMAND [ARGUMENT ...]
#
# Runs N processes of the command on this machine as one job of jax.distributed, for example
#
#   bash launch/local.sh -n 2 -- audiojax train --config configs/diffatr/soundworld.py --workdir runs/two
#
# Every line of output carries its process number. When one process fails, the others get SIGTERM (a training run then saves and
# ends), and the exit code is that of the first failure. A closed terminal, or output that can no longer be written, ends all of them
# in the same way with code 129, but under nohup. No child of a process is left behind. Where the machine has N or more GPUs, each
# process gets an equal share of them; otherwise the processes share the CPU.
#
#   -n N         number of processes, 1 to 256
#   --port P     port of process 0 on 127.0.0.1 (default: a free one)
#   --grace S    seconds from SIGTERM to SIGKILL (default: 60)
#   --dry-run    print what each process would run, do nothing
#   -h, --help   this text
set -euo pipefail
# shellcheck source=launch/setup_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

n="" port="" grace=60 dry=""
read_options "-n --port --grace" "$@"
for value in "${n:-none}" "${port:-1}" "$grace"; do
    case "$value" in '' | *[!0-9]*) fail "-n, --port and --grace take whole numbers, and -n is needed; see $0 -h" 2 ;; esac
done
[ "$n" -ge 1 ] && [ "$n" -le 256 ] || fail "-n $n: between 1 and 256 processes" 2

[ -d "$AUDIOJAX_VENV/bin" ] && PATH="$AUDIOJAX_VENV/bin:$PATH"
command -v "${command[0]}" >/dev/null 2>&1 || fail "${command[0]}: command not found; bash launch/demo.sh sets audiojax up" 2
gpus=() # those that CUDA_VISIBLE_DEVICES allows, or all
if [ "${JAX_PLATFORMS:-}" != cpu ] && command -v nvidia-smi >/dev/null 2>&1; then
    found="$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)"
    [ "$found" -eq 0 ] || IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES-$(seq -s, 0 $((found - 1)))}"
fi
share=$((${#gpus[@]} / n))
[ ${#gpus[@]} -eq 0 ] || [ "$share" -gt 0 ] || fail "-n $n, but there are ${#gpus[@]} GPUs: use fewer processes, or JAX_PLATFORMS=cpu" 2
if [ -z "$port" ]; then
    port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
fi

# settings RANK: the environment of one process, as words for env(1).
settings() {
    local mine
    printf '%s\n' "AUDIOJAX_COORDINATOR=127.0.0.1:$port" "AUDIOJAX_NUM_PROCESSES=$n" "AUDIOJAX_PROCESS_ID=$1"
    if [ "$share" -gt 0 ]; then
        mine=("${gpus[@]:$(($1 * share)):share}")
        (IFS=, && printf 'CUDA_VISIBLE_DEVICES=%s\n' "${mine[*]}")
    fi
}

if [ -n "$dry" ]; then
    for ((rank = 0; rank < n; rank++)); do
        echo "[$rank] $(settings "$rank" | tr '\n' ' ')${command[*]}"
    done
    exit 0
fi

pipes="$(mktemp -d)"
pids=() # of each process until nothing is left of it and its children
printers=()
code=0

# printer RANK: prints the lines of one process as they come (awk holds them back, where it is mawk). It ends when the process and its
# children have closed the pipe, not with the terminal: they may still have to save, and a broken pipe would stop that.
printer() {
    local line=""
    trap '' HUP INT TERM PIPE
    while IFS= read -r line || [ -n "$line" ]; do
        if ! printf '[%s] %s\n' "$1" "$line" 2>/dev/null; then
            kill -HUP $$ 2>/dev/null || true # end the job
            break
        fi
    done
    cat >/dev/null
}

# prints_on RANK: whether the printer of a process is still at work. One whose process has died before it opened the pipe waits for a
# writer, and is given one that says nothing.
prints_on() {
    kill -0 "${printers[$1]}" 2>/dev/null && : <>"$pipes/$1"
}

# stop_all: SIGTERM, then SIGKILL after the grace, to every process group that is left.
stop_all() {
    local rank pid deadline=$((SECONDS + grace))
    for pid in ${pids[@]+"${pids[@]}"}; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    for ((rank = 0; rank < n; rank++)); do
        pid="${pids[rank]:-}"
        [ -n "$pid" ] || continue
        while { kill -0 "$pid" 2>/dev/null || prints_on "$rank"; } && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
        kill -KILL -- "-$pid" 2>/dev/null || true
    done
}

# finish CODE [MESSAGE]: ends the job; the printers end by themselves when the processes have closed their pipes.
finish() {
    local rank
    trap '' INT TERM HUP PIPE # neither a second signal nor a message that nobody reads may leave processes behind
    [ -z "${2:-}" ] || say "$(basename "$0"): $2" || true
    stop_all
    for ((rank = 0; rank < n; rank++)); do
        while prints_on "$rank"; do sleep 0.1; done
    done
    rm -rf "$pipes"
    exit "$1"
}

# ended CODE: ends the job once every process that is being started is known.
ended() {
    if [ -n "$started" ]; then finish "$1" "stopping all processes"; else early="$1"; fi
}
started="" early=""
trap 'ended 129' HUP
trap 'ended 130' INT
trap 'ended 143' TERM

for ((rank = 0; rank < n; rank++)); do
    mkfifo "$pipes/$rank"
    printer "$rank" <"$pipes/$rank" &
    printers+=($!)
done
set -m # each process leads a group of its own, so that its children end with it
for ((rank = 0; rank < n; rank++)); do
    words=()
    while IFS= read -r word; do words+=("$word"); done < <(settings "$rank")
    env "${words[@]}" "${command[@]}" >"$pipes/$rank" 2>&1 </dev/null &
    pids+=($!)
done
set +m
started=yes
[ -z "$early" ] || ended "$early"

running=("${pids[@]}")
while [ ${#running[@]} -gt 0 ]; do
    for ((rank = 0; rank < n; rank++)); do
        pid="${running[rank]:-}"
        if [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; then
            wait "$pid" 2>/dev/null && code=0 || code=$?
            [ "$code" -eq 0 ] || finish "$code" "a process ended with code $code, stopping the others"
            unset "running[rank]"
        fi
        pid="${pids[rank]:-}" # once the group is empty, its number may become that of a stranger
        [ -z "$pid" ] || [ -n "${running[rank]:-}" ] || kill -0 -- "-$pid" 2>/dev/null || unset "pids[rank]"
    done
    [ ${#running[@]} -eq 0 ] || sleep 0.2 || true
done
finish 0
