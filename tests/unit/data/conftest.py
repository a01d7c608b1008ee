"""Helpers for tests of the data room: small raw files and data sections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparcode.config.data_schema import DataConfig

MakeConfig = Callable[..., DataConfig]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file below ``raw/`` and return its path."""

    def write_file(name: str, text: str | bytes) -> Path:
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_file


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A data section for a source below ``raw/``, with ``out`` as data set directory."""

    def make(source: str, **values: Any) -> DataConfig:
        settings = {"name": "tiny", "path": str(tmp_path / "raw"), "dataset_dir": str(tmp_path / "out")}
        return DataConfig(source=source, **{**settings, **values})  # type: ignore[arg-type]

    return make
