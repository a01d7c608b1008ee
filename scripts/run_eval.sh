#!/usr/bin/env bash
# Evaluates a run.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
# shellcheck source=scripts/_workers.sh
source "$(dirname "${BASH_SOURCE[0]}")/_workers.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/run_eval.sh RUN_DIR [eval.py flags] [--workers N]

Evaluates the run in RUN_DIR (written by train.py) by full ranking. With --workers, N processes build a part
of the index each and divide the users; further flags of run_distribute_train.sh say where.
Examples: bash scripts/run_eval.sh runs/ml-1m_sparcode_dnn --retriever index --json index.json
          bash scripts/run_eval.sh runs/ml-1m_sparcode_dnn --workers 2
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
split_launch_flags "$@"

setup_environment base
run_entry "$run_dir/logs/eval" eval.py --run_dir "$run_dir" "${REST[@]}"
