"""History encoders, one a file (see ``sparcode.model.building``), and the query encoder around them."""

from sparcode.model.encoders.base import HistoryEncoder

__all__ = ["HistoryEncoder"]
