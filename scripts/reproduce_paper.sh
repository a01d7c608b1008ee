#!/usr/bin/env bash
# Trains and evaluates the paper's tables, and prints our figures beside the published ones.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/reproduce_paper.sh {deezer|ml-10m} [--data DIR | --sample SCALE] [--quick] [--models ...]
                                       [--encoders ...] [--variants ...] [--work DIR] [--set KEY=VALUE ...]

Preprocesses the raw files, which also checks their format, trains and evaluates every configuration of
configs/{deezer,ml-10m}, and prints precision, recall and NDCG at 50 beside those of the paper. Fetch the files
first: bash scripts/download_data.sh deezer raw/deezer, or ml-10m raw/ml-10m. --sample generates files of the same
format, SCALE 1 in the sizes of the real ones; --quick trains one epoch. Runs that have finished are not trained
again.
Example: bash scripts/reproduce_paper.sh deezer --sample 0.01 --quick
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    deezer | ml-10m) ;;
    *) fail "a data set is needed, deezer or ml-10m; see bash scripts/reproduce_paper.sh --help" ;;
esac

setup_environment base
run_python scripts/reproduce_paper.py "$@"
