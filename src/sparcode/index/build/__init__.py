"""Building: every code against every item, pruned on the way into posting lists."""
