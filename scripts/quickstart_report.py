"""The tables and queries of scripts/quickstart.sh.

``table A.json B.json ...`` compares results of eval.py; ``queries DATASET OUT.jsonl`` writes the histories of
a few users by external ids; ``show QUERIES RECOMMENDATIONS`` prints what was recommended to them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sparcode.entry import run_entry

NUM_QUERIES = 3
SHOWN_HISTORY = 5

COLUMNS = (
    ("recall@10", ("metrics", "recall@10"), ".4f"),
    ("ndcg@10", ("metrics", "ndcg@10"), ".4f"),
    ("recall@50", ("metrics", "recall@50"), ".4f"),
    ("ndcg@50", ("metrics", "ndcg@50"), ".4f"),
    ("index recall@50", ("fidelity", "index_recall@50"), ".4f"),
    ("search p50 ms", ("latency_ms", "search_p50"), ".3f"),
    ("search p99 ms", ("latency_ms", "search_p99"), ".3f"),
)


def comparison_table(results: list[dict[str, Any]]) -> str:
    """One row per result of eval.py; a figure that a retriever does not have is a dash."""
    rows = [["model", "retriever", *(title for title, _, _ in COLUMNS)]]
    for result in results:
        rows.append([result["model"], result["retriever"], *(_figure(result, *c[1:]) for c in COLUMNS)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _figure(result: dict[str, Any], path: tuple[str, str], form: str) -> str:
    value = (result.get(path[0]) or {}).get(path[1])
    return "-" if value is None else format(value, form)


def write_queries(dataset_dir: Path, output: Path, count: int = NUM_QUERIES) -> None:
    """Writes the train and validation items of the first users with any, oldest first, by external id."""
    from sparcode.data.dataset import Dataset

    dataset = Dataset.load(dataset_dir)
    lines: list[str] = []
    for user in range(dataset.num_users):
        items = [*dataset.train.of(user), *dataset.valid.of(user)]
        if items and len(lines) < count:
            history = [dataset.item_ids[item - 1] for item in items]
            lines.append(json.dumps({"query_id": dataset.user_ids[user], "history": history}))
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def recommendations_text(queries: list[dict[str, Any]], answers: list[dict[str, Any]]) -> str:
    """The end of every history and what follows it."""
    by_query = {answer["query_id"]: answer["items"] for answer in answers}
    lines = []
    for query in queries:
        history = ", ".join(query["history"][-SHOWN_HISTORY:])
        items = ", ".join(f"{row['item']} ({row['score']:.3f})" for row in by_query[query["query_id"]])
        lines += [f"user {query['query_id']}", f"  last items:   {history}", f"  recommended:  {items}"]
    return "\n".join(lines) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("table", "queries", "show"))
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.action == "table":
        print(comparison_table([json.loads(path.read_text(encoding="utf-8")) for path in arguments.files]))
    elif arguments.action == "queries":
        write_queries(*arguments.files)
    else:
        queries, answers = arguments.files
        print(recommendations_text(read_lines(queries), read_lines(answers)))


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
