#!/usr/bin/env bash
# Trains and evaluates one table of the accuracy ladder from nothing.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/reproduce.sh {ml-1m|amazon-beauty|amazon-sports|gowalla} [--seeds "0 1 2"] [--quick] [--encoder NAME]
                                 [--rows ...] [--data DIR] [--work DIR] [--results DIR] [--set KEY=VALUE ...]

Trains the model of every row, evaluates all rows on the test split by full ranking, writes a report for each into
docs/results and rewrites the tables and plots of docs/reproduction.md. Runs that have finished and reports that
exist are not made again. --quick trains one epoch and evaluates few users, to try the commands: its reports and
tables go into the working directory (runs/reproduce). The raw files: see bash scripts/download_data.sh --help.
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    ml-1m | amazon-beauty | amazon-sports | gowalla) ;;
    *) fail "a data set is needed: ml-1m, amazon-beauty, amazon-sports or gowalla; see bash scripts/reproduce.sh --help" ;;
esac

setup_environment ann,plot
run_python scripts/reproduce.py "$@"
