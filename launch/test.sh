#!/usr/bin/env bash
# bash launch/test.sh [--dry-run] [options of pytest]
#
# On a machine with nothing but Python 3.11 to 3.13: makes .venv, installs audiojax with its test packages (no torch), checks style,
# import layers and shell scripts, and runs the tests that are neither slow nor need torch.
#
#   --dry-run   say what would be done, do nothing
#   -h, --help  this text
set -euo pipefail
# shellcheck source=launch/setup_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

dry=""
case "${1:-}" in
-h | --help)
    usage "$0"
    exit 0
    ;;
--dry-run)
    dry=yes
    shift
    ;;
esac

# step COMMAND...: runs it (or prints it) with the environment's programs first on the path.
step() {
    if [ -n "$dry" ]; then
        echo "run: $*"
    else
        say "== $*"
        PATH="$AUDIOJAX_VENV/bin:$PATH" "$@"
    fi
}

if [ -n "$dry" ]; then audiojax_plan test; else audiojax_setup test; fi
cd "$AUDIOJAX_ROOT"
step ruff check .
step ruff format --check .
step shellcheck -x launch/*.sh launch/*.sbatch .ci/run
step lint-imports --no-cache
step python -m pytest -n 2 --dist loadfile -m "not slow and not parity" "$@"
