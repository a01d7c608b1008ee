"""Compiled block scoring with NumPy on both sides: what index building and exhaustive ranking call."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from sparcode.model.inference import ItemParts, PartScores, QueryScores, TokenParts
from sparcode.model.matchers.all_to_all import AllToAll, ReluScore
from sparcode.model.matching import MatchingNetwork
from sparcode.model.pair_kernels import PairScorer

ITEM_BLOCK = 1024
"""Items scored at once; every block has this many rows, so that a graph is compiled once."""


class ItemPartTable:
    """Item parts of the whole catalogue, computed in blocks: row i is item i, padded to full blocks.

    Args:
        network: of any model.
        num_items: catalogue size I.
    """

    def __init__(self, network: MatchingNetwork, num_items: int) -> None:
        self.num_items = num_items
        self._cell = ItemParts(network)
        self.blocks: list[Tensor] = []

    def refresh(self) -> None:
        """Recompute the parts from the present weights."""
        self.blocks = []
        for start in range(1, self.num_items + 1, ITEM_BLOCK):
            ids = np.zeros(ITEM_BLOCK, np.int32)
            stop = min(start + ITEM_BLOCK, self.num_items + 1)
            ids[: stop - start] = np.arange(start, stop)
            self.blocks.append(self._cell(Tensor(ids)))


class NetworkBlockScorer:
    """Scores of pairs of token and item, for the index builder.

    Its ``BlockScorer`` and ``FingerprintedScorer``. The item part is computed once per item, the token part
    once per block of tokens.
    Pairs are scored by the kernel that the scorer has for it, or else by its graph, which threads take turns
    to run: equal to the network within the rounding of float32.

    Args:
        network: a sparcode or all-to-all model, whose weights are read now and at every ``refresh``.
        num_items: catalogue size I.
    """

    def __init__(self, network: AllToAll, num_items: int) -> None:
        self._num_items = num_items
        self._network = network
        self._graph = threading.Lock()
        self._token_cell, self._cross = TokenParts(network), PartScores(network)
        self._table = ItemPartTable(network, num_items)
        self.refresh()

    def refresh(self) -> None:
        """Read the present weights of the network."""
        self._table.refresh()
        self._parts = np.concatenate([block.asnumpy() for block in self._table.blocks])[: self._num_items]
        kernel = self._network.scorer.pair_kernel()
        self._arrays = None if kernel is None else PairScorer(kernel, self._parts)

    @property
    def num_items(self) -> int:
        """Catalogue size I."""
        return self._num_items

    @property
    def fingerprint(self) -> str:
        """Hash of the item parts and of all weights that a score depends on."""
        scorer = self._network.scorer
        digest = hashlib.sha256(type(scorer).__name__.encode() + self._parts.tobytes())
        for parameter in (*scorer.get_parameters(), *self._network.score.get_parameters()):
            digest.update(parameter.asnumpy().tobytes())
        return digest.hexdigest()

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        """Scores (T, stop - start) of lifted tokens (T, d) against the items start..stop-1, ids from 1."""
        token_parts = self._token_parts(tokens)
        if self._arrays is None:
            return self._graph_block(token_parts, start, stop)
        scores = self._arrays.block(token_parts, start, stop)
        return self._with_bias(scores)

    def _with_bias(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(self._network.score, ReluScore):
            scores += self._network.score.bias.asnumpy()[0]
        return scores

    def _token_parts(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._graph:
            parts: NDArray[np.float32] = self._token_cell(Tensor(np.ascontiguousarray(tokens))).asnumpy()
        return parts

    def _graph_block(self, token_parts: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        scores = np.empty((len(token_parts), stop - start), np.float32)
        for first in range(start, stop, ITEM_BLOCK):
            last = min(first + ITEM_BLOCK, stop)
            parts = np.zeros((ITEM_BLOCK, self._parts.shape[1]), np.float32)
            parts[: last - first] = self._parts[first - 1 : last - 1]
            with self._graph:
                block = self._cross(Tensor(token_parts), Tensor(parts)).asnumpy()
            scores[:, first - start : last - start] = block[:, : last - first]
        return scores


class ExhaustiveScorer:
    """Scores of queries against every item without quantization, by the network itself.

    Args:
        network: of any model.
        num_items: catalogue size I.
        batch_size: queries scored at once; fewer are padded to as many, but for a single one.
    """

    def __init__(self, network: MatchingNetwork, num_items: int, batch_size: int) -> None:
        self._cell = QueryScores(network)
        self._table = ItemPartTable(network, num_items)
        self._batch_size = batch_size
        self.num_items = num_items
        self._table.refresh()

    def refresh(self) -> None:
        """Recompute the item parts from the present weights of the network."""
        self._table.refresh()

    def scores(self, history: NDArray[np.int32], user_rows: Sequence[NDArray]) -> NDArray[np.float32]:
        """Histories (B, L) and user feature rows (B, ...) -> scores (B, I + 1); column 0 is -inf."""
        result = np.full((len(history), self.num_items + 1), -np.inf, np.float32)
        for start in range(0, len(history), self._batch_size):
            rows = slice(start, start + self._batch_size)
            count = len(history[rows])
            size = 1 if count == 1 else self._batch_size  # two shapes, so two graphs
            inputs = padded_tensors([history, *user_rows], rows, size)
            for number, parts in enumerate(self._table.blocks):
                block = self._cell(inputs[0], parts, *inputs[1:]).asnumpy()[:count]
                first = 1 + number * ITEM_BLOCK
                width = min(ITEM_BLOCK, self.num_items + 1 - first)
                result[rows, first : first + width] = block[:, :width]
        return result


def padded_tensors(arrays: Sequence[NDArray], rows: slice, size: int) -> list[ms.Tensor]:
    """The rows of every array as tensors of exactly ``size`` rows, filled up with zeros."""
    tensors = []
    for array in arrays:
        part = np.asarray(array[rows])
        full = np.zeros((size, *part.shape[1:]), part.dtype)
        full[: len(part)] = part
        tensors.append(Tensor(full))
    return tensors
