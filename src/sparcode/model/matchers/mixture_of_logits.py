"""Mixture of logits: dot products of components, weighted by a gate that sees the pair."""

from __future__ import annotations

from typing import Literal

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from pydantic import Field, model_validator
from typing_extensions import Self

from sparcode.config.model_schema import MixtureConfig, ModelOptions
from sparcode.config.section import Positive
from sparcode.model.layers import MLP, inverse_lengths, noisy_copies, product, subspace
from sparcode.model.matching import MatchingNetwork, Towers

outer_products = ops.BatchMatMul()
"""(P, Q, 1), (P, 1, C) -> (P, Q, C). The gradient of a broadcast product would be a slow sum over planes."""


class MixtureOptions(ModelOptions):
    """Mixture of logits: products of components, weighted by a gate."""

    name: Literal["mol"] = "mol"
    num_query_tokens: Positive = Field(16, description="K_u, tokens per query = posting lists")
    mixture: MixtureConfig = Field(default_factory=MixtureConfig, description="mixture of logits")

    @model_validator(mode="after")
    def _check_logits(self) -> Self:
        logits = self.num_query_tokens * self.mixture.item_components
        if logits > 256:
            raise ValueError(
                f"model.num_query_tokens * model.mixture.item_components is {logits}, more than 256 logits "
                "of every pair: each is a plane of queries x items in memory"
            )
        return self


class MixtureOfLogits(MatchingNetwork):
    """score(q, i) = sum_p pi_p(q, i) l_p, with l_p = <f_a, g_b> / temperature, p = (a, b).

    K_u query components f_a and K_x item components g_b of unit length make P = K_u * K_x logits. Their
    weights are pi = softmax(silu(u(q) * w(i) + h(l))), with a network of one hidden layer for each of
    u, w and h. Zhai et al., "Revisiting Neural Retrieval on Accelerators", KDD 2023; Ding and Zhai,
    "Retrieval with Learned Similarities" (RAILS), WWW 2025, without their regularisation of the gate.

    Everything that is computed for a pair lies in planes (P, pairs), one pair a column: component products
    and both layers of h are matrix products over long rows, and the softmax adds up rows.

    Query part (Q, K_u * D + P): components / temperature, then u. Item part (C, K_x * D + P) likewise.

    Args:
        towers: as in MatchingNetwork.
        query_components: K_u.
        sizes: K_x, D, width of the gate networks, temperature.
    """

    def __init__(self, towers: Towers, query_components: int, sizes: MixtureConfig) -> None:
        super().__init__(towers)
        width = towers.items.width
        self.component_size = sizes.component_size
        self.temperature = sizes.temperature
        self.query_components, self.item_components = query_components, sizes.item_components
        self.query_width = query_components * sizes.component_size
        self.item_width = sizes.item_components * sizes.component_size
        self.num_logits = query_components * sizes.item_components
        common = subspace(width, sizes.component_size)
        self.query_project = Parameter(
            Tensor(noisy_copies(common, query_components).T.copy()), name="query_project"
        )
        self.item_project = Parameter(
            Tensor(noisy_copies(common, sizes.item_components).T.copy()), name="item_project"
        )
        self.ones = Tensor(np.ones((1, self.num_logits), np.float32))
        self.query_gate = MLP([width, sizes.gate_size, self.num_logits])
        self.item_gate = MLP([width, sizes.gate_size, self.num_logits])
        self.pair_hidden = nn.Dense(self.num_logits, sizes.gate_size)
        self.pair_output = nn.Dense(sizes.gate_size, self.num_logits)

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """Item ids (C,) and their feature rows -> (C, K_x * D + P): unit components, then gate."""
        vectors = self.tower(ids, feature_rows)
        components = product(vectors, self.item_project)
        return ops.concat((self._unit(components), self.item_gate(vectors)), 1)

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> (Q, K_u * D + P): unit components / temperature, then gate."""
        components = self._unit(product(queries, self.query_project)) / self.temperature
        return ops.concat((components, self.query_gate(queries)), 1)

    def _unit(self, components: Tensor) -> Tensor:
        """(N, K * D) -> the same with K components of length one each."""
        rows = components.reshape(-1, self.component_size)
        return (rows * inverse_lengths(rows)).reshape(components.shape)

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u * D + P), (C, K_x * D + P) -> scores (Q, C)."""
        queries, items = query_parts.shape[0], item_parts.shape[0]
        size = self.component_size
        f, u = ops.split(query_parts, [self.query_width, self.num_logits], 1)
        g, w = ops.split(item_parts, [self.item_width, self.num_logits], 1)
        f = f.reshape(queries, self.query_components, 1, size).transpose(1, 2, 0, 3)
        g = g.reshape(items, 1, self.item_components, size).transpose(1, 2, 3, 0)
        logits = ops.matmul(f, g).reshape(self.num_logits, -1)  # (K_u, K_x, Q, C) -> (P, Q * C)
        gate = outer_products(ops.expand_dims(u.transpose(1, 0), 2), ops.expand_dims(w.transpose(1, 0), 1))
        return self._mix(logits, gate.reshape(self.num_logits, -1)).reshape(queries, items)

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u * D + P), (Q, K_x * D + P) -> scores (Q,)."""
        size = self.component_size
        f, u = ops.split(query_parts, [self.query_width, self.num_logits], 1)
        g, w = ops.split(item_parts, [self.item_width, self.num_logits], 1)
        f = f.reshape(-1, self.query_components, size)
        g = g.reshape(-1, self.item_components, size)
        logits = ops.bmm(f, g.transpose(0, 2, 1)).reshape(-1, self.num_logits)  # (Q, P)
        return self._mix(logits.transpose(1, 0), (u * w).transpose(1, 0))

    def _mix(self, logits: Tensor, gate: Tensor) -> Tensor:
        """Logits (P, N) and gate inputs of query and item (P, N) of N pairs -> scores (N,)."""
        # planes one by one, products with ones: on CPU broadcasting and reducing long rows are slower
        row = ops.ones((1, logits.shape[1]), ms.float32)
        hidden = product(self.pair_hidden.weight, logits) + product(
            ops.expand_dims(self.pair_hidden.bias, 1), row
        )
        pair = product(self.pair_output.weight, ops.silu(hidden))
        gate = ops.silu(gate + pair + product(ops.expand_dims(self.pair_output.bias, 1), row))
        planes = ops.unstack(ops.stop_gradient(gate), axis=0)
        largest = planes[0]
        for plane in planes[1:]:
            largest = ops.maximum(largest, plane)
        weights = ops.exp(gate - largest)
        return (product(self.ones, weights * logits) / product(self.ones, weights)).reshape(-1)


def build(options: MixtureOptions, towers: Towers) -> MixtureOfLogits:
    """The untrained network."""
    return MixtureOfLogits(towers, options.num_query_tokens, options.mixture)
