"""Query encoders: DNN, GRU4Rec and SASRec."""

from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.encoders.dnn import DNNEncoder
from sparcode.model.encoders.gru4rec import GRU4RecEncoder
from sparcode.model.encoders.query import AttentionJoin, MLPJoin, QueryEncoder
from sparcode.model.encoders.sasrec import SASRecEncoder

__all__ = [
    "AttentionJoin",
    "DNNEncoder",
    "GRU4RecEncoder",
    "HistoryEncoder",
    "MLPJoin",
    "QueryEncoder",
    "SASRecEncoder",
]
