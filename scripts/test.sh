#!/usr/bin/env bash
# Sets up .venv and runs the linters, the type checker and the tests.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/test.sh [--all] [pytest arguments]

Sets up .venv, then runs ruff, mypy and pytest, the tests in as many processes as there are cores, at most 4,
with one thread each. Tests marked slow are left out unless --all is given. -n 0 runs them in one process.
Examples: bash scripts/test.sh -k loader
          bash scripts/test.sh tests/unit/index
TEXT
}

selection=(-m "not slow")
arguments=()
for argument in "$@"; do
    case "$argument" in
        -h | --help)
            usage
            exit 0
            ;;
        --all) selection=() ;;
        *) arguments+=("$argument") ;;
    esac
done

setup_environment test
(setup_environment ann) ||
    say "warning: without hnswlib (which needs a C++ compiler) and faiss, the tests of hnsw and ivf are skipped"
cd "$ROOT"

# Threads of several processes that wait for each other would spin and slow all of them down.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
cores="$(getconf _NPROCESSORS_ONLN)" # nproc would say what OMP_NUM_THREADS does
parallel=(-n "$((cores < 4 ? cores : 4))" --dist loadfile)

failed=()
check() {
    say "== $*"
    "$PYTHON_BIN" -m "$@" || failed+=("$1")
}
check ruff check .
check ruff format --check .
check mypy
check pytest "${parallel[@]}" "${selection[@]}" "${arguments[@]}"

if ((${#failed[@]})); then
    printf 'error: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
