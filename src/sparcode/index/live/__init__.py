"""Adding, removing and rescoring items in an index that is being searched."""
