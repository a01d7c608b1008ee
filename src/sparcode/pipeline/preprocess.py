"""Composition of preprocessing: raw files -> data set directory."""

from __future__ import annotations

from sparcode.config.arguments import PreprocessArguments
from sparcode.data.dataset import Dataset, preprocess
from sparcode.progress import Progress


def preprocess_run(arguments: PreprocessArguments) -> Dataset:
    """Make the data set directory that the configuration names.

    Raises:
        DataError: the raw files are missing or malformed.
        OutputError: the directory cannot be written.
    """
    with Progress(f"preprocessing {arguments.config.data.name}"):
        return preprocess(arguments.config.data)
