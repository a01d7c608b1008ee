"""Ranking metrics, protocols, baselines and reports."""
