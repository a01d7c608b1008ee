"""Data room: raw formats, filters, splits, features, the data set directory, batching and sampling."""

from sparcode.data.dataset import Dataset, Interactions, prepare_dataset, preprocess
from sparcode.data.synthetic import generate_synthetic

__all__ = ["Dataset", "Interactions", "generate_synthetic", "prepare_dataset", "preprocess"]
