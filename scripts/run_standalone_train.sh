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

config=""
if (($#)); then
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        -*) ;;
        *)
            config="$1"
            shift
            [[ -f "$config" ]] || fail "$config: no such configuration file"
            ;;
    esac
fi
config="${config:-$ROOT/default_config.yaml}"

output=()
if [[ " $* " != *" --output_dir"[=\ ]* ]]; then
    directory="$(basename "$(cd "$(dirname "$config")" && pwd)")"
    name="$(basename "$config" .yaml)"
    output=(--output_dir "runs/${directory}_$name")
    say "run directory: ${output[1]}"
fi

setup_environment base
run_python train.py --config_path "$config" "${output[@]}" "$@"
