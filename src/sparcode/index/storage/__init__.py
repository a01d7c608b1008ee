"""The index on disk: a manifest and its section files."""
