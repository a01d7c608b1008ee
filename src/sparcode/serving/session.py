"""What the graphs of a bundle do: encode queries, score items.

MindSpore is imported when the first session is opened. A session is not safe for use by several threads at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.serving.bundle import Bundle
from sparcode.serving.manifest import GraphSpec

if TYPE_CHECKING:
    from sparcode.serving.mindir import GraphSession


@dataclass(frozen=True)
class EncodedQueries:
    """What the encoder makes of B queries.

    Attributes:
        term_ids: (B, K_u * P) int32, P probes for each token, then, with crosses, (B, L') for the history
            items; two_tower has these alone, or None.
        weights: of the shape of ``term_ids``, float32, how much each term counts.
        tokens: (B, K_u, d) float32, lifted, without quantization; None for two_tower.
        vectors: (B, d) float32 query vectors; None for sparcode.
    """

    term_ids: NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None
    tokens: NDArray[np.float32] | None = None
    vectors: NDArray[np.float32] | None = None

    @classmethod
    def of_vectors(
        cls,
        vectors: NDArray[np.float32],
        term_ids: NDArray[np.int32] | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> EncodedQueries:
        """What the encoder of a two-tower gives: vectors, and with crosses terms and weights."""
        return cls(term_ids, weights, None, vectors)


class EncoderSession:
    """The query encoder of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._is_sparcode = bundle.manifest.model == "sparcode"
        spec = bundle.manifest.encoder
        self._graph = _open_graph(bundle, spec)

    def encode(self, history: NDArray[np.int32], user_rows: Sequence[NDArray[Any]] = ()) -> EncodedQueries:
        """Encode queries.

        Args:
            history: (B, L) int32 internal item ids, right-aligned, 0 = padding; B of at least 1.
            user_rows: one array per user feature, in the order of the manifest: categorical (B,) int32, multi
                (B, width) int32, dense (B, size) float32.

        Raises:
            UsageError: an array of another type or shape.
        """
        outputs = self._graph.run(history, *user_rows)
        if self._is_sparcode:
            return EncodedQueries(term_ids=outputs[0], weights=outputs[1], tokens=outputs[2])
        return EncodedQueries.of_vectors(*outputs)


class ScorerSession:
    """The interaction network of a bundle, with the feature rows of the catalogue."""

    def __init__(self, bundle: Bundle) -> None:
        spec = bundle.manifest.scorer
        self._graph = _open_graph(bundle, spec)
        self._arrays = bundle.item_arrays
        self._num_items = bundle.manifest.num_items

    def score(self, tokens: NDArray[np.float32], item_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Score every token (or query vector) against every item.

        Args:
            tokens: (T, d) float32 tokens for sparcode, (T, d) query vectors for two_tower.
            item_ids: (C,) int32 internal item ids in [0, I].

        Returns:
            (T, C) float32: what ``AllToAll.token_scores`` gives for sparcode, dot products for two_tower.

        Raises:
            UsageError: an array of another type or shape, or an item id out of range.
        """
        if len(item_ids) and not 0 <= item_ids.min() <= item_ids.max() <= self._num_items:
            raise UsageError(
                "item id out of range",
                expected=f"0 .. {self._num_items}",
                received=f"{item_ids.min()} .. {item_ids.max()}",
            )
        return self.score_rows(tokens, item_ids, [np.asarray(array[item_ids]) for array in self._arrays])

    def score_rows(
        self, tokens: NDArray[np.float32], item_ids: NDArray[np.int32], rows: Sequence[NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Score every token against items with feature rows of their own, (C, ..) for each item feature.

        Where the bundle has no item embeddings, the ids do not matter as long as they are in range.

        Raises:
            UsageError: an array of another type or shape.
        """
        scores: NDArray[np.float32] = self._graph.run(tokens, item_ids, *rows)[0]
        return scores


def _open_graph(bundle: Bundle, spec: GraphSpec) -> GraphSession:
    from sparcode.serving.mindir import GraphSession

    return GraphSession(bundle.directory / spec.file, spec)
