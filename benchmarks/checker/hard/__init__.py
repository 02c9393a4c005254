"""Right pairs of functions that are hard to check."""
