"""One optimisation step: equal in both modes, codebooks by their own rule, and every model can learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from helpers import tiny_config, tiny_dataset
from sparcode.config.schema import Config
from sparcode.data.batching import BatchOptions, BatchSource, Sharding, make_batches
from sparcode.model.factory import build_network
from sparcode.model.inference import TrainingTokens
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.pipeline import runs
from sparcode.pipeline import train as train_pipeline
from sparcode.pipeline.model_inputs import user_arrays
from sparcode.training.encoding import TrainingQueries
from sparcode.training.step import CodeSharing, StepInputs, TrainStep, make_optimizer, set_learning_rate
from sparcode.training.world import World

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}


@dataclass
class Bench:
    """A network with everything that a step needs."""

    network: Any
    step: TrainStep
    inputs: StepInputs
    batches: BatchSource
    sharing: CodeSharing | None = None

    @property
    def sharding(self) -> Sharding:
        return Sharding(self.batches, 0, 1)

    def run(self, count: int) -> Iterator[list[np.ndarray]]:
        """Outputs of the first steps, epoch after epoch."""
        done = epoch = 0
        while done < count:
            for batch in self.batches.epoch(epoch):
                if done < count:
                    tensors = self.inputs.tensors(batch, self.sharding.share(batch), done)
                    if self.sharing is not None:
                        tensors = self.sharing.add_to(tensors)
                    yield [output.asnumpy() for output in self.step(*tensors)]
                done += 1
            epoch += 1


def make_bench(
    values: dict[str, Any], quantize: bool, *, ordered: bool = True, features: bool = True
) -> Bench:
    config = tiny_config(values)
    dataset = tiny_dataset(ordered=ordered, features=features)
    ms.set_seed(1)
    network = build_network(config.model, runs.data_shape(config, dataset))
    batches = make_batches(dataset, BatchOptions(config.train.batch_size, 6, 6, 0))
    if quantize:
        queries = TrainingQueries(batches, user_arrays(config, dataset), World())
        tokens = queries.sample_tokens(TrainingTokens(network, batches.every_position), 16)
        network.quantizer.fit(tokens, 0)
    optimizer = make_optimizer(network, config)
    loss = _loss(config, network, batches, quantize)
    step = TrainStep(loss, optimizer, config.train.gradient_clip)
    step.set_train(True)
    inputs = train_pipeline.step_inputs(config, dataset, network, batches)
    sharing = CodeSharing(loss) if quantize and network.shares_codes else None
    return Bench(network, step, inputs, batches, sharing)


def _loss(config: Config, network: Any, batches: BatchSource, quantize: bool) -> TrainingLoss:
    return TrainingLoss(
        network,
        LossWeights(config.model.temperature, network.commitment_weight),
        quantize=quantize,
        every_position=batches.every_position,
        use_noise=network.encoder.noise_layers > 0,
    )


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        pytest.param({}, True, id="sequences"),
        pytest.param(
            {"train.gradient_clip": 0.1, "train.loss.negatives": "mixed", "train.quantized_share": 0.5},
            False,
            id="pairs-clipped-some-quantized",
        ),
        pytest.param(
            {"model.encoder.name": "sasrec", "model.encoder.dropout": 0.25, "model.quantizer.shared": True},
            True,
            id="dropout-shared",
        ),
        pytest.param({"model.encoder.name": "gru4rec", "model.scorer.name": "attention"}, True, id="gru"),
    ],
)
def test_compiled_and_eager_steps_are_equal(values: dict[str, Any], ordered: bool) -> None:
    outcomes = []
    for mode in MODES.values():
        ms.set_context(mode=mode)
        bench = make_bench(values, quantize=True, ordered=ordered)
        outputs = list(bench.run(3))
        quantizer = bench.network.quantizer
        state = (quantizer.codebooks, quantizer.ema_sums, quantizer.ema_counts, bench.network.tower.id_table)
        outcomes.append((outputs, [part.asnumpy().copy() for part in state]))
    (compiled, compiled_state), (eager, eager_state) = outcomes
    for one, other in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(one[:3], other[:3], rtol=1e-4)
        np.testing.assert_array_equal(one[3], other[3])
    for mine, theirs in zip(compiled_state, eager_state, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)
    assert compiled[0][0] != compiled[1][0]


@pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])
def test_a_step_moves_every_weight_and_the_codebooks_by_ema_alone(shared: bool) -> None:
    values = {
        "train.loss.negatives": "full",
        "model.quantizer.restart_threshold": 0.0,
        "model.quantizer.shared": shared,
        "model.scorer.name": "mlp",
    }
    bench = make_bench(values, quantize=True)
    # zero output weights, as at the start, keep gradients from the layers below
    for output in (bench.network.scorer.output.weight, bench.network.tower.perceptron.layers[-1].weight):
        output.set_data(Tensor(np.random.default_rng(3).normal(size=output.shape).astype(np.float32)))
    before = {part.name: part.asnumpy().copy() for part in bench.network.get_parameters()}
    quantizer = bench.network.quantizer
    list(bench.run(1))
    for parameter in bench.network.trainable_params():
        assert (parameter.asnumpy() != before[parameter.name]).any(), parameter.name
    counts = quantizer.ema_counts.asnumpy()
    batch = next(iter(bench.batches.epoch(0)))
    tokens = batch.weights.sum() * (3 if shared else 1)  # of each codebook
    grown = 0.99 * before["quantizer.ema_counts"].reshape(-1, 4).sum(1) + 0.01 * tokens
    assert len(grown) == (2 if shared else 6)
    np.testing.assert_allclose(counts.reshape(-1, 4).sum(1), grown, rtol=1e-5)
    np.testing.assert_allclose(
        quantizer.codebooks.asnumpy(), quantizer.ema_sums.asnumpy() / counts[:, None], rtol=1e-3
    )


def test_before_quantization_the_codebooks_stay() -> None:
    bench = make_bench({}, quantize=False)
    (outputs,) = bench.run(1)
    assert outputs[2] == 0.0
    assert not bench.network.quantizer.codebooks.asnumpy().any()


def test_the_learning_rate_of_the_loop_is_the_optimizers() -> None:
    bench = make_bench({"model.name": "two_tower"}, quantize=False, features=False)
    before = bench.network.tower.id_table.asnumpy().copy()
    set_learning_rate(bench.step.optimizer, 0.0)
    steps = bench.run(2)
    next(steps)
    np.testing.assert_array_equal(bench.network.tower.id_table.asnumpy(), before)
    set_learning_rate(bench.step.optimizer, 0.125)
    next(steps)
    moved = np.abs(bench.network.tower.id_table.asnumpy() - before).max()
    assert 0.05 < moved < 0.3  # Adam moves by about the learning rate
    assert not bench.network.tower.id_table.asnumpy()[0].any()  # an unknown item stays zero


@pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])
def test_the_random_numbers_of_a_step_depend_on_seed_and_step_alone(shared: bool) -> None:
    values = {
        "model.encoder.name": "sasrec",
        "model.encoder.dropout": 0.5,
        "model.quantizer.shared": shared,
        "train.quantized_share": 0.5,
    }
    bench = make_bench(values, quantize=False)
    batch = next(iter(bench.batches.epoch(0)))

    def arrays(step: int) -> list[np.ndarray]:
        return [tensor.asnumpy() for tensor in bench.inputs.tensors(batch, bench.sharding.share(batch), step)]

    first, again, later = arrays(5), arrays(5), arrays(6)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for place in (0, 5, 7, 10):  # restart rows, candidates, quantized queries, noise
        assert (first[place] != later[place]).any()
    assert first[10].shape == (3, 16, 6, 8)
    assert first[10].dtype == np.uint8
    restart_rows = first[0]
    assert restart_rows.shape == ((8,) if shared else (24,))
    rows = int(batch.weights.sum()) * (3 if shared else 1)
    drawn = np.concatenate([arrays(step)[0] for step in range(400)])
    assert (drawn.min(), drawn.max()) == (0, rows - 1)


@pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])
def test_the_random_numbers_of_the_shares_are_those_of_the_batch(shared: bool) -> None:
    values = {
        "model.encoder.name": "sasrec",
        "model.encoder.dropout": 0.5,
        "model.quantizer.shared": shared,
        "train.loss.negatives": "mixed",
        "train.quantized_share": 0.5,
    }
    bench = make_bench(values, quantize=False)
    per_query = 3 if shared else 1
    batch = next(iter(bench.batches.epoch(0)))
    whole = [t.asnumpy() for t in bench.inputs.tensors(batch, bench.sharding.share(batch), 5)]
    found = np.zeros(len(whole[0]), int)
    for rank in range(3):
        share = Sharding(bench.batches, rank, 3).share(batch)
        own = [t.asnumpy() for t in bench.inputs.tensors(batch, share, 5)]
        here = own[0] >= 0
        found += here
        rows = share.places[own[0][here] // per_query] * per_query + own[0][here] % per_query
        np.testing.assert_array_equal(rows, whole[0][here])
        np.testing.assert_array_equal(own[5], whole[5])  # candidates: the positives of all shares
        np.testing.assert_array_equal(own[6][: len(share.places)], whole[6][share.places])
        real = share.batch.history.any(1)
        np.testing.assert_array_equal(own[7][: len(share.places)], whole[7][share.places])
        np.testing.assert_array_equal(own[10][:, real], whole[10][:, share.rows[real]])
    np.testing.assert_array_equal(found, 1)  # every codeword restarts from the tokens of one worker


def test_the_configured_share_of_queries_is_quantized() -> None:
    def chosen(share: float) -> tuple[np.ndarray, list[np.ndarray]]:
        bench = make_bench({"train.quantized_share": share}, quantize=False)
        batch = next(iter(bench.batches.epoch(0)))
        count = int(batch.weights.sum())
        inputs = [
            [tensor.asnumpy() for tensor in bench.inputs.tensors(batch, bench.sharding.share(batch), step)]
            for step in range(300)
        ]
        return np.stack([arrays[7][:count] for arrays in inputs]), inputs[0]

    every, whole = chosen(1.0)
    assert (every == 1).all()
    some, part = chosen(0.3)
    assert set(np.unique(some)) == {0.0, 1.0}
    assert some.mean() == pytest.approx(0.3, abs=0.02)
    assert (some.mean(0) < 0.5).all()  # resampled every step
    for place in set(range(len(whole))) - {7}:  # all else is as it was
        np.testing.assert_array_equal(whole[place], part[place])


def test_a_step_leaves_the_tokens_of_the_other_queries_alone() -> None:
    def first_loss(quantize: bool, share: float) -> float:
        values = {"train.loss.negatives": "full", "train.quantized_share": share}
        return float(next(make_bench(values, quantize=quantize).run(1))[1])

    without, every = first_loss(False, 1.0), first_loss(True, 1.0)
    assert first_loss(True, 1e-9) == pytest.approx(without, rel=1e-6)  # no query is drawn
    assert abs(every - without) > 1e-5 * without


def test_in_batch_negatives_of_the_own_share_alone() -> None:
    bench = make_bench(
        {"train.loss.negatives": "in_batch", "train.loss.gather_in_batch": False}, quantize=False
    )
    batch = next(iter(bench.batches.epoch(0)))
    share = Sharding(bench.batches, 1, 2).share(batch)
    candidates = bench.inputs.tensors(batch, share, 0)[5].asnumpy()
    np.testing.assert_array_equal(candidates, share.batch.positives)
    assert len(share.places) < batch.weights.sum()


class Given(Exception):
    """What a worker would have sent to the others, instead of sending it."""


class Catch:
    """Stands in for the sum over workers."""

    def __call__(self, *tensors: Tensor) -> None:
        raise Given([tensor.asnumpy().astype(np.float64) for tensor in tensors])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("ordered", [True, False], ids=["sequences", "pairs"])
def test_what_workers_add_up_is_what_one_has(ordered: bool, size: int) -> None:
    """Statistics, losses and gradients of the shares of an uneven batch against those of the whole batch."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    rng = np.random.default_rng(0)
    values = {
        "train.loss.negatives": "mixed",
        "train.batch_size": 15,
        "model.quantizer.restart_threshold": 0.95,
        "train.quantized_share": 0.5,
    }
    bench = make_bench(values, quantize=True, ordered=ordered)
    bench.step.sum_over_workers = Catch()
    parameters = bench.network.trainable_params()
    for parameter in parameters:
        if not parameter.asnumpy().any():  # a layer that starts at zero gives those below it no gradient
            parameter.set_data(Tensor(rng.normal(0.0, 0.1, parameter.shape).astype(np.float32)))
    batch = list(bench.batches.epoch(0))[-1]
    assert 0 < batch.weights.sum() < len(batch.weights)  # the last batch is smaller

    def given(sharding: Sharding) -> list[np.ndarray]:
        with pytest.raises(Given) as caught:
            bench.step(*bench.inputs.tensors(batch, sharding.share(batch), 0))
        return list(caught.value.args[0])

    whole = given(bench.sharding)
    parts = [given(Sharding(bench.batches, rank, size)) for rank in range(size)]
    sums = [np.sum(tensors, axis=0) for tensors in zip(*parts, strict=True)]
    assert len(sums) == 5 + len(parameters)
    assert whole[1] == sums[1] == batch.weights.sum()
    assert len({float(part[1]) for part in parts}) > 1  # shares of different weight
    for mine, theirs in zip(sums, whole, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    for parameter, gradient in zip(parameters, whole[5:], strict=True):
        assert abs(gradient).max() > 0.01 or "perceptron" in parameter.name, parameter.name


@pytest.mark.parametrize("encoder", ["dnn", "gru4rec", "sasrec"])
@pytest.mark.parametrize("model", ["two_tower", "all_to_all", "sparcode"])
def test_every_model_learns_the_ring(model: str, encoder: str) -> None:
    """The next item follows from the history: the loss must fall far below that of guessing."""
    values = {
        "model.name": model,
        "model.encoder.name": encoder,
        "model.embedding_size": 16,
        "model.encoder.hidden_size": 32,
        "train.batch_size": 40,
        "train.learning_rate": 0.02,
        "train.loss.negatives": "full",
    }
    if model != "two_tower":
        values["model.token_size"] = 8
    if model == "sparcode":
        values["model.quantizer.codebook_size"] = 16
    bench = make_bench(values, quantize=model == "sparcode", features=False)
    losses = [float(outputs[1]) for outputs in bench.run(120)]
    assert losses[-1] < 0.3 * losses[0]
