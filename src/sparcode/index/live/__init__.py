"""Adding, removing and scoring items anew in an index that is being searched."""
