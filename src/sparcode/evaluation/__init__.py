"""Metrics, the ranking protocol, retrievers to compare, and reports."""
