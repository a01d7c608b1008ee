"""Posting lists in fewer bytes: coded scores, bit-packed item ids, and their search in place."""
