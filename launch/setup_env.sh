# shellcheck shell=bash
# Shared set-up of the launch scripts: source it, then call `audiojax_setup EXTRA`.
#
# It finds Python 3.11 to 3.13, makes .venv beside the package and installs audiojax there, with uv where that is found and with pip
# otherwise. A stamp inside .venv (a checksum of setup.py with this folder, the place of .venv, then one line per extra) lets the next call
# end at once. AUDIOJAX_PYTHON names the interpreter to make .venv with; AUDIOJAX_VENV another folder than .venv.

AUDIOJAX_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
AUDIOJAX_VENV="${AUDIOJAX_VENV:-$AUDIOJAX_ROOT/.venv}"
AUDIOJAX_STAMP="$AUDIOJAX_VENV/audiojax-installed"
unset PYTHONDONTWRITEBYTECODE # set in many containers: each start would compile thousands of modules again, 15 s

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $1"
    exit "${2:-1}"
}

# usage FILE: prints the comment block at the top of a script, which is its -h text.
usage() { awk 'NR > 1 && !/^#/ { exit } NR > 1 && !/^#SBATCH/ { sub(/^# ?/, ""); print }' "$1"; }

# read_options "-n --port" "$@": reads the options of a script whose command comes after `--` into the array `command`. Each flag that is
# named takes a value and sets the variable of its name (-n sets n, --port sets port); --dry-run sets dry, -h prints the usage.
# shellcheck disable=SC2034  # dry and command are for the script that sources this file
read_options() {
    local flags=" $1 "
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        case "$1" in
        -h | --help)
            usage "$0"
            exit 0
            ;;
        --dry-run)
            dry=yes
            shift
            ;;
        *)
            [[ "$flags" == *" $1 "* ]] || fail "unknown flag '$1': the command comes after --; see $0 -h" 2
            [ $# -gt 1 ] || fail "$1 needs a value; see $0 -h" 2
            printf -v "${1##*-}" %s "$2"
            shift 2
            ;;
        esac
    done
    [ $# -gt 1 ] || fail "no command: write it after --, as in -- audiojax train ...; see $0 -h" 2
    command=("${@:2}")
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# find_python: prints the first supported interpreter, and fails when there is none.
find_python() {
    local candidate
    for candidate in ${AUDIOJAX_PYTHON:+"$AUDIOJAX_PYTHON"} python3 python3.12 python3.13 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_supported "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

has_uv() { [ -z "${AUDIOJAX_NO_UV:-}" ] && uv --version >/dev/null 2>&1; }

# venv_origin: prints where the environment was made, if it was moved or copied since: its programs still start those of that place.
venv_origin() {
    local made=""
    [ ! -f "$AUDIOJAX_STAMP" ] || { read -r _ && read -r made; } <"$AUDIOJAX_STAMP" || true
    case "$made" in /*) [ "$made" -ef "$AUDIOJAX_VENV" ] || printf '%s\n' "$made" ;; esac
}

make_venv() {
    local python origin
    [ -z "${AUDIOJAX_PYTHON:-}" ] || is_supported "$AUDIOJAX_PYTHON" ||
        fail "AUDIOJAX_PYTHON=$AUDIOJAX_PYTHON is not a working Python 3.11, 3.12 or 3.13"
    origin="$(venv_origin)"
    if [ -n "$origin" ] && [ "$AUDIOJAX_VENV" = "$AUDIOJAX_ROOT/.venv" ]; then
        say "$AUDIOJAX_VENV was made as $origin and works only there: removing it"
        rm -rf "$AUDIOJAX_VENV"
    elif [ -n "$origin" ]; then
        fail "$AUDIOJAX_VENV was made as $origin and works only there: remove it (rm -r '$AUDIOJAX_VENV') and run this again"
    fi
    if [ -e "$AUDIOJAX_VENV" ]; then
        is_supported "$AUDIOJAX_VENV/bin/python" && return 0
        fail "$AUDIOJAX_VENV is not a working environment with Python 3.11 to 3.13: remove it (rm -r '$AUDIOJAX_VENV') and run this again"
    fi
    if ! python="$(find_python)"; then
        has_uv || fail "no Python 3.11, 3.12 or 3.13 was found. Install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv; macOS: brew install python@3.12), or install uv, which brings its own; or name one: AUDIOJAX_PYTHON=/path/to/python3.12"
        python="3.12" # uv downloads it
    fi
    if has_uv; then
        say "Making $AUDIOJAX_VENV with uv ($python)"
        uv venv --quiet --seed --python "$python" "$AUDIOJAX_VENV" || fail "uv could not make $AUDIOJAX_VENV"
    else
        say "Making $AUDIOJAX_VENV with $python"
        if ! "$python" -m venv "$AUDIOJAX_VENV"; then
            rm -rf "$AUDIOJAX_VENV"
            fail "$python cannot make environments. On Debian and Ubuntu: sudo apt-get install python3-venv, then run this again"
        fi
    fi
}

# checksum: prints the first line of the stamp: what was installed, from where.
checksum() { printf '%s %s\n' "$(cksum <"$AUDIOJAX_ROOT/setup.py")" "$AUDIOJAX_ROOT"; }

# is_installed EXTRA: whether the environment has this setup.py of this folder, with that extra ("" for none).
is_installed() {
    [ -f "$AUDIOJAX_STAMP" ] && [ "$(head -n 1 "$AUDIOJAX_STAMP")" = "$(checksum)" ] && [ -z "$(venv_origin)" ] &&
        { [ -z "$1" ] || grep -qx "$1" "$AUDIOJAX_STAMP"; }
}

# audiojax_setup EXTRA: afterwards $AUDIOJAX_VENV/bin has python and audiojax, with that extra of setup.py ("" for none).
audiojax_setup() {
    local lock="${AUDIOJAX_VENV%/}.lock"
    if command -v flock >/dev/null 2>&1 && mkdir -p "$(dirname "$lock")" 2>/dev/null && { : >>"$lock"; } 2>/dev/null; then
        { # the lock ends with this block: what runs later does not have the descriptor
            wait_for_lock
            install_audiojax "$1"
        } 9>>"$lock"
    else
        install_audiojax "$1"
    fi
}

# wait_for_lock: locks descriptor 9. flock ends with 1 where another has the lock, otherwise where the file system has no locks.
wait_for_lock() {
    flock -n 9 2>/dev/null && return 0
    [ $? -eq 1 ] || return 0
    say "Waiting for another set-up of $AUDIOJAX_VENV to end"
    flock 9
}

# install_audiojax EXTRA: makes the environment and installs into it what is missing.
install_audiojax() {
    local extra="$1" python="$AUDIOJAX_VENV/bin/python" spec started=$SECONDS
    make_venv
    is_installed "$extra" && return 0
    spec="$AUDIOJAX_ROOT${extra:+[$extra]}"
    say "Installing audiojax and its packages (the first time downloads about 330 MB)"
    if has_uv; then
        uv pip install --python "$python" --editable "$spec" || fail "the installation failed; the lines above say why"
    else
        "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 ||
            fail "$AUDIOJAX_VENV has no pip: remove it (rm -r '$AUDIOJAX_VENV') and run this again"
        "$python" -m pip install --disable-pip-version-check --editable "$spec" || fail "the installation failed; the lines above say why"
    fi
    if is_installed ""; then
        printf '%s\n' "$extra" >>"$AUDIOJAX_STAMP"
    else
        printf '%s\n' "$(checksum)" "$(cd "$AUDIOJAX_VENV" && pwd)" "$extra" >"$AUDIOJAX_STAMP"
    fi
    say "Set up in $((SECONDS - started)) s"
}

# audiojax_plan EXTRA: says what audiojax_setup would do.
audiojax_plan() {
    local with="pip"
    has_uv && with="uv"
    if is_installed "$1"; then
        echo "use the environment $AUDIOJAX_VENV"
    else
        echo "make $AUDIOJAX_VENV where it is missing or was moved, and install audiojax${1:+[$1]} into it with $with"
    fi
}
