#!/usr/bin/env bash
# Trains in several workers, on one machine or several.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
# shellcheck source=scripts/_workers.sh
source "$(dirname "${BASH_SOURCE[0]}")/_workers.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/run_distribute_train.sh WORKERS [CONFIG] [train.py flags]
           [--nodes N --node_rank R --master_addr ADDRESS] [--master_port PORT] [--log_dir DIR]

Trains CONFIG (default: default_config.yaml) in WORKERS processes, each with an equal part of every batch of
train.batch_size: the run follows that of one process. The workers are started by msrun, one for each device
(Ascend, GPU) or as many as wanted (CPU). Logs go to <run directory>/logs, that of the first worker also here.

On N machines, run the same command on each, with --node_rank 0 to N - 1 and the address of node 0; WORKERS
counts those of all machines, and the run directory and the data must be on a file system that all see.

Examples: bash scripts/run_distribute_train.sh 2 configs/ml-1m/sparcode_dnn.yaml
          bash scripts/run_distribute_train.sh 8 configs/ml-1m/sparcode_dnn.yaml --device_target Ascend
          bash scripts/run_distribute_train.sh 16 configs/ml-1m/sparcode_dnn.yaml --device_target Ascend \
              --nodes 2 --node_rank 0 --master_addr 10.0.0.1
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
    "" | -*) fail "WORKERS is missing; usage: bash scripts/run_distribute_train.sh WORKERS [CONFIG] [flags]" ;;
esac
[[ "$1" =~ ^[1-9][0-9]*$ ]] || fail "WORKERS must be a positive number, not '$1'"
workers="$1"
shift
split_launch_flags "$@"
LAUNCH+=(--workers "$workers")
choose_run "${REST[@]}"

setup_environment base
run_entry "$RUN_DIR/logs" train.py "${TRAIN_ARGS[@]}"
