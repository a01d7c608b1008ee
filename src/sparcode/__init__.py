"""SparCode on MindSpore: candidate matching with sparse retrievable cross-interactions."""

__version__ = "0.1.0"
