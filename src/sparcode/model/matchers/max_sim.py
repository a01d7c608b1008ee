"""Late interaction of several query vectors with one item vector: the best of them decides."""

from __future__ import annotations

from typing import Literal

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, ops
from pydantic import Field

from sparcode.config.model_schema import ModelOptions
from sparcode.config.section import Positive
from sparcode.model.layers import dot_products, noisy_copies, product
from sparcode.model.matching import MatchingNetwork, Towers


class MaxSimOptions(ModelOptions):
    """MaxSim: the best of several query vectors decides."""

    name: Literal["max_sim"] = "max_sim"
    num_query_tokens: Positive = Field(16, description="K_u, tokens per query = posting lists")


class MaxSim(MatchingNetwork):
    """score(q, i) = max_k <z_k, v_i>, with K_u query vectors z_k = A_k q of full width.

    The rule by which MIND (Li et al., CIKM 2019) and ComiRec serve queries of several interests, and the
    MaxSim of ColBERT (Khattab and Zaharia, SIGIR 2020) for documents of one vector: ColBERT sums the maxima
    over the tokens of the query because a text match has to cover all of them, whereas an item need only
    suit one interest of a user. A sum over k would also be no more than a two-tower: sum_k <z_k, v> =
    <sum_k z_k, v>.

    Args:
        towers: as in MatchingNetwork.
        num_vectors: K_u.
    """

    def __init__(self, towers: Towers, num_vectors: int) -> None:
        super().__init__(towers)
        self.num_vectors = num_vectors
        start = noisy_copies(np.eye(towers.items.width, dtype=np.float32), num_vectors)  # (K_u * d, d)
        self.project = Parameter(Tensor(np.ascontiguousarray(start.T), ms.float32), name="project")

    def query_part(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, d)."""
        return product(queries, self.project).reshape(-1, self.num_vectors, queries.shape[1])

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u, d), (C, d) -> (Q, C): the largest dot product over the K_u vectors."""
        # one (Q, C) plane for each k: a maximum over an axis of (Q, K_u, C) is slower, forward and backward
        vectors = ops.unstack(query_parts, axis=1)
        best = dot_products(vectors[0], item_parts)
        for number in range(1, self.num_vectors):
            best = ops.maximum(best, dot_products(vectors[number], item_parts))
        return best

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u, d), (Q, d) -> (Q,)."""
        return ops.amax((query_parts * ops.expand_dims(item_parts, 1)).sum(-1), 1)


def build(options: MaxSimOptions, towers: Towers) -> MaxSim:
    """The untrained network."""
    return MaxSim(towers, options.num_query_tokens)
