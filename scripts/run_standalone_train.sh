#!/usr/bin/env bash
# Trains on one device.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/run_standalone_train.sh [CONFIG] [train.py flags]

Trains CONFIG (default: default_config.yaml) into runs/<directory>_<name of CONFIG>, or into --output_dir.
Examples: bash scripts/run_standalone_train.sh configs/ml-1m/sparcode_dnn.yaml
          bash scripts/run_standalone_train.sh configs/ml-1m/sparcode_dnn.yaml --set seed=1 --output_dir runs/s1
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
esac
choose_run "$@"

setup_environment base
run_python train.py "${TRAIN_ARGS[@]}"
