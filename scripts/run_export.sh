#!/usr/bin/env bash
# Exports the deployment bundle of a run.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
# shellcheck source=scripts/_workers.sh
source "$(dirname "${BASH_SOURCE[0]}")/_workers.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/run_export.sh RUN_DIR BUNDLE [export.py flags] [--workers N]

Exports the run in RUN_DIR (written by train.py) as a deployment bundle into the directory BUNDLE. With
--workers, N processes build a part of the index each; further flags of run_distribute_train.sh say where.
Example: bash scripts/run_export.sh runs/ml-1m_sparcode_dnn bundles/ml-1m
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
esac
if (($# < 2)) || [[ "$1" == -* || "$2" == -* ]]; then
    fail "RUN_DIR and BUNDLE are needed; usage: bash scripts/run_export.sh RUN_DIR BUNDLE [export.py flags]"
fi
[[ -d "$1" ]] || fail "$1: no such run directory"
run_dir="$1"
bundle="$2"
shift 2
split_launch_flags "$@"

setup_environment base
run_entry "$run_dir/logs/export" export.py --run_dir "$run_dir" --output "$bundle" "${REST[@]}"
