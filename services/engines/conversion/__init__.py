"""Checkpoints in a layout of their publisher's, converted into classes of transformers.

Nothing of a publisher's own Python code runs. One module for each layout, in the table of
conversion.py; `shards.py` reads and writes the weights.
"""
