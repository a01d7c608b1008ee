#!/usr/bin/env bash
# From nothing to recommendations: environment, built-in data, two models, evaluation, bundle, inference.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/quickstart.sh [--small]

Sets up .venv, generates the built-in data set, trains a two-tower and SparCode with the same encoder, item
tower, crosses and budget, evaluates both with and without crosses beside popularity, exports a bundle of
SparCode and prints recommendations from it. Everything lands in runs/quickstart (--small: fewer users and
items, in runs/quickstart-small), which is rebuilt each time.
TEXT
}

out=runs/quickstart
settings=()
case "${1:-}" in
    "") ;;
    --small)
        out=runs/quickstart-small
        settings=(
            --set data.synthetic.num_users=600 --set data.synthetic.num_items=300
            --set train.epochs=8 --set eval.fidelity_queries=100 --set eval.latency_queries=20
        )
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "unknown argument '$1'; see bash scripts/quickstart.sh --help" ;;
esac
(($# <= 1)) || fail "one argument at most; see bash scripts/quickstart.sh --help"

SECONDS=0
step_number=0
step() {
    step_number=$((step_number + 1))
    printf '\n[%d/7, %d:%02d] %s\n' "$step_number" "$((SECONDS / 60))" "$((SECONDS % 60))" "$*" >&2
}

step "environment"
setup_environment base
cd "$ROOT"
rm -rf "$out"
mkdir -p "$out"
settings+=(--set "data.dataset_dir=$out/dataset")

step "data set"
run_python preprocess.py --config_path configs/synthetic/sparcode.yaml "${settings[@]}"

# One thread for each process: threads of processes that share the cores would wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

train() {
    run_python train.py --config_path "configs/synthetic/$1.yaml" "${settings[@]}" --output_dir "$out/$1" \
        2> >(sed "s/^/$1: /" >&2)
}

step "training the two-tower and SparCode, side by side"
train two_tower &
two_tower=$!
train sparcode
wait "$two_tower"

# evaluate FILE RUN RETRIEVER [FLAG...]: the test split into FILE.json
evaluate() {
    local file="$1" run="$2" retriever="$3"
    shift 3
    run_python eval.py --run_dir "$out/$run" --retriever "$retriever" --json "$out/$file.json" \
        --set eval.fidelity_queries=0 "$@" >&2
}

step "evaluation"
evaluate popularity two_tower popularity
evaluate two_tower two_tower exact --set crosses.kind=none
evaluate two_tower_crosses two_tower exact
evaluate sparcode sparcode index --set crosses.kind=none
evaluate sparcode_crosses sparcode index

step "exporting the bundle"
run_python export.py --run_dir "$out/sparcode" --output "$out/bundle"

step "recommendations from the bundle alone"
run_python scripts/quickstart_report.py queries "$out/dataset" "$out/queries.jsonl"
run_python infer.py --bundle "$out/bundle" --input "$out/queries.jsonl" --topk 5 \
    --output "$out/recommendations.jsonl"

step "results"
run_python scripts/quickstart_report.py show "$out/queries.jsonl" "$out/recommendations.jsonl"
run_python scripts/quickstart_report.py table \
    "$out"/{popularity,two_tower,two_tower_crosses,sparcode,sparcode_crosses}.json
printf '\nEverything is in %s: dataset, sparcode and two_tower (runs), *.json (figures), bundle, ' "$ROOT/$out"
printf 'queries.jsonl, recommendations.jsonl. Took %d:%02d minutes.\n' "$((SECONDS / 60))" "$((SECONDS % 60))"
