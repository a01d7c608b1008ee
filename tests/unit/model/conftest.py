"""Execution modes for tests of the networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    """Every test runs in graph mode unless it asks for ``mode``."""
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture(params=list(MODES))
def mode(request: pytest.FixtureRequest, graph_mode: None) -> str:
    """Run the test once compiled and once eagerly."""
    ms.set_context(mode=MODES[request.param])
    return str(request.param)
