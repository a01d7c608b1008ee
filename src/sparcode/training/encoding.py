"""Tokens of training queries, on which the codebooks are fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from sparcode.data.batching import BatchSource
from sparcode.model.block_scorer import padded_tensors
from sparcode.training.world import World

FITTED_QUERIES = 20_000
"""Queries on whose tokens the codebooks are fitted."""


def sample_tokens(
    encoder: nn.Cell,
    batches: BatchSource,
    user_arrays: Sequence[NDArray],
    batch_size: int,
    world: World,
) -> NDArray[np.float32]:
    """Tokens of histories from the first training batches, divided among the workers.

    Args:
        encoder: queries -> tokens.
        batches: of training.
        user_arrays: (U, ...) for each user feature that the encoder reads, in input order.
        batch_size: queries encoded at once.
        world: the workers; all get the same tokens.

    Returns:
        (Q, K_u, D) float32, Q at least ``FITTED_QUERIES`` if an epoch has so many.
    """
    histories: list[NDArray[np.int32]] = []
    users: list[NDArray[np.int64]] = []
    wanted = FITTED_QUERIES
    for batch in batches.epoch(0):
        real = np.unique(batch.query_index[batch.weights > 0] // batch.history.shape[1])
        histories.append(batch.history[real])
        users.append(batch.users[real])
        wanted -= len(real)
        if wanted <= 0:
            break
    own = world.share(sum(map(len, users)))
    history, user = np.concatenate(histories)[own], np.concatenate(users)[own]
    rows = [np.asarray(array[user]) for array in user_arrays]
    (tokens,) = encode_queries(encoder, history, rows, batch_size)
    return world.gather(tokens)


def encode_queries(
    cell: nn.Cell, history: NDArray[np.int32], user_rows: Sequence[NDArray], batch_size: int
) -> tuple[NDArray, ...]:
    """Run an encoder cell over all queries in batches of one fixed shape.

    Args:
        cell: (history, one input for each user feature) -> one output or several, a row for each query.
        history: (B, L) int32.
        user_rows: one array (B, ...) for each user feature in input order.
        batch_size: queries encoded at once.

    Returns:
        Its outputs as arrays with one row per query (a 1-tuple for a single output).
    """
    pieces: list[tuple[NDArray, ...]] = []
    for start in range(0, len(history), batch_size):
        rows = slice(start, start + batch_size)
        outputs = cell(*padded_tensors([history, *user_rows], rows, batch_size))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        count = len(history[rows])
        pieces.append(tuple(output.asnumpy()[:count] for output in outputs))
    return tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True))
