#!/usr/bin/env bash
# Evaluates a run.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/run_eval.sh RUN_DIR [eval.py flags]

Evaluates the run in RUN_DIR (written by train.py) by full ranking.
Example: bash scripts/run_eval.sh runs/ml-1m_sparcode_dnn --retriever index --json index.json
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    "" | -*) fail "RUN_DIR is missing; usage: bash scripts/run_eval.sh RUN_DIR [eval.py flags]" ;;
esac
[[ -d "$1" ]] || fail "$1: no such run directory"
run_dir="$1"
shift

setup_environment base
run_python eval.py --run_dir "$run_dir" "$@"
