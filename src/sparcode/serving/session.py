"""The compiled graphs of a bundle, NumPy in and NumPy out.

Graphs are compiled once for all batch sizes (their batch axes are free), on the first call. A session is not
safe for use by several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from sparcode.errors import BundleError, UsageError
from sparcode.serving.bundle import Bundle
from sparcode.serving.manifest import GraphSpec, TensorSpec

_MINDSPORE_TYPES = {"int32": ms.int32, "float32": ms.float32}


def placeholder(spec: TensorSpec) -> Tensor:
    """A tensor of the given type and shape without contents; free axes are None."""
    return Tensor(shape=list(spec.shape), dtype=_MINDSPORE_TYPES[spec.dtype])


class GraphSession:
    """One MindIR graph.

    Args:
        path: the ``.mindir`` file.
        spec: its inputs and outputs.

    Raises:
        BundleError: MindSpore cannot load the file.
    """

    def __init__(self, path: Path, spec: GraphSpec) -> None:
        self._path, self._spec = path, spec
        try:
            self._cell = nn.GraphCell(ms.load(str(path)))
            self._cell.set_inputs(*[placeholder(tensor) for tensor in spec.inputs])
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(
                "graph cannot be loaded",
                where=path,
                received=str(error).strip().splitlines()[0],
                remedy=f"export the bundle again with the installed MindSpore {ms.__version__}",
            ) from error

    def run(self, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Outputs of the graph.

        Args:
            arrays: one per input, of the type and shape that the manifest states.

        Raises:
            UsageError: another number of arrays, or one of another type or shape.
        """
        if len(arrays) != len(self._spec.inputs):
            raise UsageError(
                "wrong number of inputs",
                where=self._path.name,
                expected=", ".join(spec.name for spec in self._spec.inputs),
                received=len(arrays),
            )
        for array, spec in zip(arrays, self._spec.inputs, strict=True):
            _check_input(array, spec, self._path.name)
        outputs = self._cell(*[Tensor(np.ascontiguousarray(array)) for array in arrays])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.asnumpy() for output in outputs)


def _check_input(array: NDArray[Any], spec: TensorSpec, graph: str) -> None:
    fits = array.ndim == len(spec.shape) and all(
        want in (None, have) for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.dtype != spec.dtype:
        raise UsageError(
            f"input {spec.name!r} has another type or shape",
            where=graph,
            expected=f"{spec.dtype} {spec.shape} with None = any length",
            received=f"{array.dtype} {array.shape}",
        )


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
        self._graph = GraphSession(bundle.directory / spec.file, spec)

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
        self._graph = GraphSession(bundle.directory / spec.file, spec)
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
