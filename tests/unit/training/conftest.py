"""MindSpore's environment variables and graph mode for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    """Every test runs compiled, as training and evaluation do."""
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
