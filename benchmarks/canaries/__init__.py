"""Errors of the canaries: right versions that are refused, wrong weights that pass."""
