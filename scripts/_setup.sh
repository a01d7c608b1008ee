# shellcheck shell=bash
# Shared by the scripts in this directory: source it, then call setup_environment.
#
# PYTHON            interpreter to create the environment with (default: the first of python3.12, python3.11,
#                   python3.10, python3 that runs and is 3.10 to 3.12)
# SPARCODE_VENV     directory of the environment (default: .venv beside the README)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${SPARCODE_VENV:-$ROOT/.venv}"

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# A supported interpreter that can create environments; a pyenv shim without a version behind it does not run.
_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
        >/dev/null 2>&1
}

_find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        _usable "$PYTHON" || fail "PYTHON=$PYTHON does not run, is not Python 3.10 to 3.12, or lacks venv"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3.10 python3; do
        if _usable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.12 with the venv module found; install one or set PYTHON=/path/to/python"
}

_hash_files() { "$VENV/bin/python" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(b"\0".join(pathlib.Path(name).read_bytes() for name in sys.argv[1:])).hexdigest())
' "$@"; }

_create_venv() {
    local python
    if [[ -x "$VENV/bin/python" ]] && _usable "$VENV/bin/python"; then
        "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >&2
        return
    fi
    if [[ -e "$VENV" && ! -f "$VENV/pyvenv.cfg" && -n "$(ls -A "$VENV")" ]]; then
        fail "$VENV exists and is not a Python environment; move it away or set SPARCODE_VENV"
    fi
    python="$(_find_python)"
    say "creating $VENV with $("$python" --version) ..."
    "$python" -m venv --clear "$VENV"
}

_pip_install() { (cd "$ROOT" && "$PYTHON_BIN" -m pip install --disable-pip-version-check "$@") >&2; }

# setup_environment base|EXTRA[,EXTRA]: .venv with the package and what it needs; PYTHON_BIN is its interpreter.
# Installs only when requirements.txt, pyproject.toml or the checkout's place changed since the last time.
setup_environment() {
    local extras="$1" stamp wanted targets=(-r requirements.txt)
    _create_venv
    PYTHON_BIN="$VENV/bin/python"
    stamp="$VENV/.installed-$extras"
    wanted="$(_hash_files "$ROOT/requirements.txt" "$ROOT/pyproject.toml") $ROOT"
    if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
        say "environment ready: $VENV"
        return
    fi
    [[ "$extras" == base ]] || targets+=(-e ".[$extras]")
    say "installing requirements into $VENV (a few minutes the first time) ..."
    # A broken-off download of a large wheel fails by its checksum, which pip does not try again by itself.
    _pip_install "${targets[@]}" || { say "trying once more ..." && _pip_install "${targets[@]}"; } ||
        fail "pip could not install the requirements; see above (network, disk space, platform)"
    printf '%s\n' "$wanted" >"$stamp"
}

# run_python SCRIPT [ARG...]: a script of the repository in the environment, from the caller's directory.
run_python() {
    local script="$1"
    shift
    "$PYTHON_BIN" "$ROOT/$script" "$@"
}

# choose_run [CONFIG] [FLAG...]: TRAIN_ARGS for train.py, with the run directory RUN_DIR that they name or imply.
choose_run() {
    local config="$ROOT/default_config.yaml" directory argument previous=""
    if (($#)) && [[ "$1" != -* ]]; then
        config="$1"
        shift
        [[ -f "$config" ]] || fail "$config: no such configuration file"
    fi
    RUN_DIR=""
    for argument in "$@"; do
        [[ "$previous" == --output_dir ]] && RUN_DIR="$argument"
        [[ "$argument" == --output_dir=* ]] && RUN_DIR="${argument#*=}"
        previous="$argument"
    done
    TRAIN_ARGS=(--config_path "$config" "$@")
    if [[ -z "$RUN_DIR" ]]; then
        directory="$(basename "$(cd "$(dirname "$config")" && pwd)")"
        RUN_DIR="runs/${directory}_$(basename "$config" .yaml)"
        TRAIN_ARGS+=(--output_dir "$RUN_DIR")
        say "run directory: $RUN_DIR"
    fi
}
