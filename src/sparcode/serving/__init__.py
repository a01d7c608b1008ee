"""Serving: the deployment bundle, and recommendations from it without the training code.

``sparcode.serving.export.exporter`` writes bundles and needs the model; it is not imported here.
"""

from sparcode.serving.bundle import Bundle, open_bundle
from sparcode.serving.retriever import Recommendation, Retriever

__all__ = ["Bundle", "Recommendation", "Retriever", "open_bundle"]
