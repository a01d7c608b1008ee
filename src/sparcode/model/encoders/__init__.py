"""Query encoders: DNN, GRU4Rec and SASRec."""

from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.encoders.dnn import DNNEncoder
from sparcode.model.encoders.gru4rec import GRU4RecEncoder
from sparcode.model.encoders.query import QueryEncoder
from sparcode.model.encoders.sasrec import SASRecEncoder

__all__ = ["DNNEncoder", "GRU4RecEncoder", "HistoryEncoder", "QueryEncoder", "SASRecEncoder"]
