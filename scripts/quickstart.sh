#!/usr/bin/env bash
# From nothing to recommendations: environment, built-in data, two models, evaluation, bundle, inference.
set -euo pipefail
# shellcheck source=scripts/_setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

usage() {
    cat <<'TEXT'
usage: bash scripts/quickstart.sh [--small]

Sets up .venv, generates the built-in data set, trains SparCode and a two-tower, compares them with
popularity, exports a bundle and prints recommendations from it. Everything lands in runs/quickstart
(--small: a tiny data set, in runs/quickstart-small), which is made anew each time.
TEXT
}

out=runs/quickstart
settings=()
case "${1:-}" in
    "") ;;
    --small)
        out=runs/quickstart-small
        settings=(
            --set data.synthetic.num_users=1500 --set data.synthetic.num_items=400
            --set data.synthetic.num_categories=10 --set data.synthetic.num_styles=10
            --set train.epochs=16 --set train.validate_every=4
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
    printf '\n[%d/8, %d:%02d] %s\n' "$step_number" "$((SECONDS / 60))" "$((SECONDS % 60))" "$*" >&2
}

step "environment"
setup_environment base
cd "$ROOT"
rm -rf "$out"
mkdir -p "$out"
settings+=(--set "data.dataset_dir=$out/dataset")

step "data set"
run_python preprocess.py --config_path configs/synthetic/sparcode.yaml "${settings[@]}"

step "training SparCode"
run_python train.py --config_path configs/synthetic/sparcode.yaml "${settings[@]}" --output_dir "$out/sparcode"

step "training the two-tower with the same encoder"
run_python train.py --config_path configs/synthetic/two_tower.yaml "${settings[@]}" --output_dir "$out/two_tower"

step "evaluation"
run_python eval.py --run_dir "$out/sparcode" --retriever index --json "$out/sparcode.json"
run_python eval.py --run_dir "$out/two_tower" --retriever exact --json "$out/two_tower.json"
run_python eval.py --run_dir "$out/sparcode" --retriever popularity --json "$out/popularity.json"

step "exporting the bundle"
run_python export.py --run_dir "$out/sparcode" --output "$out/bundle"

step "recommendations from the bundle alone"
run_python scripts/quickstart_report.py queries "$out/dataset" "$out/queries.jsonl"
run_python infer.py --bundle "$out/bundle" --input "$out/queries.jsonl" --topk 5 \
    --output "$out/recommendations.jsonl"

step "results"
run_python scripts/quickstart_report.py show "$out/queries.jsonl" "$out/recommendations.jsonl"
run_python scripts/quickstart_report.py table \
    "$out/sparcode.json" "$out/two_tower.json" "$out/popularity.json"
printf '\nEverything is in %s: dataset, sparcode and two_tower (runs), *.json (figures), bundle, ' "$ROOT/$out"
printf 'queries.jsonl, recommendations.jsonl. Took %d:%02d minutes.\n' "$((SECONDS / 60))" "$((SECONDS % 60))"
