"""What every worker of the tests runs: trains the named cases one after the other and notes its weights.

``python worker_cases.py DIRECTORY [--resume] [--evaluate] CASE ...`` in as many processes as msrun starts.
Data and run directories lie in DIRECTORY; ``<case>_weights_<rank>.txt`` there holds a checksum of all weights
after each step. With ``--evaluate`` every sparcode run is also evaluated from its index into
``<case>_eval.json``, and ``<case>_index_<rank>.txt`` holds the checksum of an index that was built.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import ring_config  # isort: skip
from sparcode.config.command_lines import EvalArguments, TrainArguments
from sparcode.config.schema import Config
from sparcode.entry import run_entry
from sparcode.pipeline import runs
from sparcode.pipeline import train as train_pipeline
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.pipeline.index import PARTS
from sparcode.training.loop import Trainer

CASES: dict[str, dict[str, object]] = {
    "sparcode": {
        "model.quantizer.restart_threshold": 0.95,
        "train.gradient_clip": 0.5,
        "index.probes": 0,  # chosen, by all workers
        "index.probe_temperature": 0.0,
        "index.prior_strength": 0.0,
        "crosses.kind": "following",
    },
    "two_tower": {
        "model.name": "two_tower",
        "data.source": "table",  # without an order: a pair of user and item is a row
        "data.protocol": "ratio",
        "train.loss.negatives": "mixed",
        "train.loss.num_negatives": 8,
    },
    "all_to_all": {
        "model.name": "all_to_all",
        "model.encoder.name": "sasrec",
        "model.encoder.dropout": 0.25,
        "train.loss.negatives": "full",
    },
}
"""A batch size that two workers cannot halve, and a last batch that is smaller than the others."""


def case_config(directory: Path, case: str) -> Config:
    """Configuration of a case with its data below ``directory``, written when it is missing."""
    common = {
        "train.batch_size": 15,
        "train.epochs": 4,
        "train.quantize_from": 0.25,
        "train.quantized_share": 0.5,
        "index.block_terms": 8,
    }
    config = ring_config(directory, {**common, **CASES[case]})
    if config.data.source != "table":
        return config
    table, lines = directory / "ring.csv", (directory / "ring.txt").read_text().splitlines()
    if not table.exists():
        pairs = [(user, item) for user, *items in map(str.split, lines) for item in items]
        table.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in pairs))
    place = {"path": str(table), "dataset_dir": str(directory / "pairs")}
    return config.model_copy(update={"data": config.data.model_copy(update=place)})


class NotingTrainer(Trainer):
    """Appends a checksum of all weights to ``notes`` after every step."""

    notes: Path

    def _check_finite(self, loss: float) -> None:
        super()._check_finite(loss)
        checksum = 0
        for parameter in self._parameters():
            checksum = zlib.crc32(parameter.asnumpy().tobytes(), checksum)
        with self.notes.open("a") as file:
            file.write(f"{checksum}\n")

    def fit(self, resume: bool):  # type: ignore[no-untyped-def]
        NotingTrainer.notes = Path(f"{self._run_dir}_weights_{self._world.rank}.txt")
        return super().fit(resume)


def evaluate(directory: Path, case: str, output: Path) -> int:
    """Evaluates a run into ``output``, builds its index once more and returns that one's checksum."""
    config = case_config(directory, case)
    evaluate_run(EvalArguments(config, directory / case, "test", "index", output))
    run = runs.open_run(config, directory / case)
    postings = runs.build_run_index(run, directory / case / PARTS).index.postings
    checksum = 0
    for array in (postings.indptr, postings.item_ids, postings.scores):
        checksum = zlib.crc32(array.tobytes(), checksum)
    run.world.leave()
    return checksum


def main(argv: list[str]) -> None:
    """Trains the cases."""
    train_pipeline.Trainer = NotingTrainer  # type: ignore[misc]
    directory, *cases = [argument for argument in argv if not argument.startswith("--")]
    root = Path(directory)
    for case in cases:
        config = case_config(root, case)
        train_pipeline.train_run(TrainArguments(config, root / case, "--resume" in argv))
        if "--evaluate" in argv:
            checksum = evaluate(root, case, root / f"{case}_eval.json")
            (root / f"{case}_index_{os.environ['RANK_ID']}.txt").write_text(str(checksum))


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
