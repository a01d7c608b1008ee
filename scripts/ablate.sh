#!/usr/bin/env bash
# Accuracy against size and search time of the index of a trained run, and trained ablations.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/ablate.sh RUN_DIR [--name NAME] [--train CONFIG] [--set KEY=VALUE ...] [--work DIR]
                              [--docs DIR]

Builds and evaluates the index of a trained sparcode run with 1 to 8 probes, three types of scores and lists of five
lengths, and writes docs/results/NAME-ablation-index.json, a plot and a table of docs/ablation.md. --train also
trains CONFIG once for every entry of TRAINED in scripts/ablate.py: tokens, codebooks, scorers, loss.
Example: bash scripts/ablate.sh runs/ml-1m-sparcode --name ml-1m --train configs/ml-1m/sparcode_dnn.yaml
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    "" | -*) fail "RUN_DIR is missing; see bash scripts/ablate.sh --help" ;;
esac

setup_environment plot
run_python scripts/ablate.py "$@"
