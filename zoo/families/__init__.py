"""A pair for the mini benchmark's four families, and its training."""
