"""Unlabelled images from any source.

opening.py     chooses the source for the path or URL that a user gives
source.py      the protocol of every source: folder.py, manifest.py, tables.py (rows.py), tars.py,
               zips.py, and two that wrap another: drawn.py (a pilot's images), kept.py
store.py       file access for all of them through fsspec; patience.py repeats failed access
reading.py     reads and checks images, a few ahead of the run
likeness.py    hashes that find near duplicates; leaks.py: the set that images are held against
"""
