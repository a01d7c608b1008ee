"""Every model of the comparison can learn a small set by heart: nothing in it stands in the way."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from helpers import tiny_config
from network_cases import TokenEncoder
from sparcode.data.samplers import log_weights
from sparcode.evaluation.code_scorer import exhaustive_scorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.training.encoding import encode_queries
from sparcode.training.step import CodeSharing, TrainStep, make_optimizer, set_learning_rate

pytestmark = pytest.mark.slow

QUERIES, ITEMS, LENGTH, STEPS = 24, 30, 6, 200
MODELS = [
    "two_tower",
    "max_sim",
    "mol",
    "all_to_all",
    "sparcode-dot",
    "sparcode-mlp",
    "sparcode-attention",
]


def make_network(model: str) -> tuple[Any, Any]:
    """Configuration and network; SparCode with as many codewords as it has to tell queries apart."""
    name, _, scorer = model.partition("-")
    values = {
        "model.name": name,
        "model.embedding_size": 16,
        "model.encoder.hidden_size": 64,
        "train.learning_rate": 0.02,
    }
    if name != "two_tower":
        values["model.num_query_tokens"] = 4
    if name == "mol":
        values["model.mixture.component_size"] = 8
    if name == "sparcode":
        values |= {
            "model.quantizer.num_codebooks": 1,
            "model.quantizer.codebook_size": 16,
            "model.quantizer.decay": 0.95,
            "model.scorer.name": scorer,
        }
    if scorer in ("mlp", "attention"):
        values["model.scorer.hidden_size"] = 16
    config = tiny_config(values)
    ms.set_seed(4)
    return config, build_network(config.model, DataShape(ITEMS, LENGTH, (), (), {}))


def memorise(model: str, targets: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Train on the full softmax of the targets; returns scores (Q, I) as served, quantized."""
    config, network = make_network(model)
    quantize = model.startswith("sparcode")
    if quantize:
        network.quantizer.fit(encode_queries(TokenEncoder(network), history, (), QUERIES)[0], 0)
    weights = LossWeights(1.0, network.commitment_weight)
    loss = TrainingLoss(network, weights, quantize, every_position=False, use_noise=False)
    optimizer = make_optimizer(network, config)
    step = TrainStep(loss, optimizer, 1.0)
    step.set_train(True)
    every = np.arange(1, ITEMS + 1, dtype=np.int32)
    rng = np.random.default_rng(2)
    parts = [
        history,
        np.zeros(QUERIES, np.int32),
        targets,
        np.ones(QUERIES, np.float32),
        every,
        log_weights(every, np.zeros(ITEMS, np.float32), targets),  # the positive is one of the candidates
        np.ones(QUERIES, np.float32),
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        np.zeros((1, 1, 1, 1), np.uint8),
    ]
    batch = [Tensor(part) for part in parts]
    codewords = network.quantizer.rows if quantize else 1
    sharing = CodeSharing(loss) if network.shares_codes else None
    for number in range(STEPS):  # a falling rate, as in training: codebooks follow tokens with a delay
        set_learning_rate(optimizer, config.train.learning_rate * (1 - number / STEPS))
        tensors = [Tensor(rng.integers(0, QUERIES, codewords, dtype=np.int32)), *batch]
        step(*(sharing.add_to(tensors) if sharing else tensors))
    ms.set_context(mode=ms.PYNATIVE_MODE)  # one look at the result is not worth compiling for
    network.set_train(False)
    return exhaustive_scorer(network, ITEMS, QUERIES).scores(history, ())[:, 1:]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_random_targets_by_heart(model: str) -> None:
    """Neither histories nor targets have any structure: recall@1 by chance is 1/30."""
    rng = np.random.default_rng(1)
    history = rng.integers(1, ITEMS + 1, (QUERIES, LENGTH)).astype(np.int32)
    targets = rng.integers(1, ITEMS + 1, QUERIES).astype(np.int32)
    scores = memorise(model, targets, history)
    recall = float((scores.argmax(1) + 1 == targets).mean())
    assert recall >= 0.95
