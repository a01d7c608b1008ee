"""Matching models, one a file: see ``sparcode.model.building``."""
