#!/usr/bin/env bash
# bash launch/demo.sh [--dry-run] [options of audiojax demo]
#
# On a machine with nothing but Python 3.11 to 3.13: makes .venv, installs audiojax, trains a small model on synthetic sounds,
# searches with it, and writes an HTML report. The next run starts in seconds.
#
#   --dry-run   say what would be done, do nothing
#   -h, --help  this text; `audiojax demo -h` shows the options of the demo itself
set -euo pipefail
# shellcheck source=launch/setup_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

case "${1:-}" in
-h | --help)
    usage "$0"
    exit 0
    ;;
--dry-run)
    shift
    audiojax_plan ""
    echo "run: audiojax demo $*"
    exit 0
    ;;
esac

audiojax_setup ""
cd "$AUDIOJAX_ROOT"
exec "$AUDIOJAX_VENV/bin/audiojax" demo "$@"
