"""A run, and everything that is read from it.

run.py         the folder, its lock, its settings and its ledger
settings.py    the choices that a run keeps from its beginning
state.py       how far the run has come, by typed names; keys.py: their keys in the ledger
ledger/        the SQLite file: every image, reply, answer and record with its reason
opinions.py    votes and samples of the teachers
entries.py     records one by one, for people and tools; columns.py: as a table
evaluation.py  candidate against live, as the ledger stores it
history.py     the rounds; summary.py: the outcome in numbers
matching.py    other matchers on the same answers
comparison.py  two runs side by side; listing.py: all runs of a folder
bounded.py     the one loop over many images or questions
progress.py    progress of a long stage, on a terminal or in plain lines
"""

from pathlib import Path

RUNS = Path("runs")
"""Folder of the runs, unless a command names another."""
