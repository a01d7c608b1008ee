"""A compiled graph of a bundle, NumPy in and NumPy out. The only part of serving that runs MindSpore.

A graph is compiled once for all batch sizes (its batch axis is free), on the first call. A session is
not safe for use by several threads at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from sparcode.errors import BundleError, UsageError
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
