"""The table and the queries of scripts/quickstart.sh.

``table A.json B.json ...`` prints a row for each result of eval.py; ``queries DATASET OUT.jsonl`` writes the
histories and features of a few users by external ids; ``show QUERIES RECOMMENDATIONS`` prints what was
recommended to them.
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

HEADER = ("model", "ranked by", "crosses", "NDCG@10", "NDCG@50", "bytes", "us/query")

HOW_MEASURED = """\
NDCG: held-out last item of every user, the whole catalogue ranked. bytes: what the search reads, in memory:
counts, float32 vectors and table of crosses, or the index. us/query: median of single queries on one thread,
from the encoded query to the top 50 without items of the history; encoding ({encode}) comes before it for all
models but popularity."""


def comparison_table(results: list[dict[str, Any]]) -> str:
    """One row per result of eval.py; a figure that a result does not have is a dash."""
    rows = [list(HEADER), *map(_row, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    table = "\n".join(line.rstrip() for line in lines)
    return f"{table}\n\n{HOW_MEASURED.format(encode=_encode_times(results))}"


def _row(result: dict[str, Any]) -> list[str]:
    metrics = result.get("metrics") or {}
    search = (result.get("latency_ms") or {}).get("search_p50")
    baseline = result["model"] == result["retriever"]
    return [
        result["model"],
        "-" if baseline else result["retriever"],
        "yes" if result.get("crosses") and not baseline else "-",
        _figure(metrics.get("ndcg@10"), ".4f"),
        _figure(metrics.get("ndcg@50"), ".4f"),
        _figure(result.get("size_bytes"), ","),
        _figure(None if search is None else 1e3 * search, ".0f"),
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _encode_times(results: list[dict[str, Any]]) -> str:
    """Range of the medians, such as ``2.1 to 2.4 ms``."""
    times = [(result.get("latency_ms") or {}).get("encode_p50") for result in results]
    known = sorted(time for time in times if time is not None)
    return f"{known[0]:.1f} to {known[-1]:.1f} ms" if known else "not measured"


def write_queries(dataset_dir: Path, output: Path, count: int = NUM_QUERIES) -> None:
    """Write train and validation items, oldest first, and features of the first users with any, by name."""
    from sparcode.data.dataset import Dataset

    dataset = Dataset.load(dataset_dir)
    lines: list[str] = []
    for user in range(dataset.num_users):
        items = [*dataset.train.of(user), *dataset.valid.of(user)]
        if items and len(lines) < count:
            query = {
                "query_id": dataset.user_ids[user],
                "history": [dataset.item_ids[item - 1] for item in items],
                "features": {
                    name: values[int(dataset.user_arrays[name][user])]
                    for name, values in dataset.user_vocab.items()
                },
            }
            lines.append(json.dumps(query))
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def recommendations_text(queries: list[dict[str, Any]], answers: list[dict[str, Any]]) -> str:
    """Features and the end of the history of every query, and what is recommended."""
    by_query = {answer["query_id"]: answer["items"] for answer in answers}
    lines = []
    for query in queries:
        features = ", ".join(f"{name} {value}" for name, value in query["features"].items())
        history = ", ".join(query["history"][-SHOWN_HISTORY:])
        items = ", ".join(f"{row['item']} ({row['score']:.3f})" for row in by_query[query["query_id"]])
        lines += [
            f"user {query['query_id']} ({features})",
            f"  last items:   {history}",
            f"  recommended:  {items}",
        ]
    return "\n".join(lines) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(argv: list[str]) -> None:
    """Run the action that ``argv`` names."""
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
