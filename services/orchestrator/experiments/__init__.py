"""Experiments: arms x students x teachers x tasks x seeds, from one file to the tables. Results are the only state.

experiment.py  what an experiment is; file.py reads one
plan.py        subjects, runs and evaluations that it comes to
site.py        where its models run
flow.py        all of it, top to bottom: identified.py (runs) -> trained.py (samples.py) -> measured.py
comparisons.py what changed from one model to another; versus.py: between arms
results.py     the rows
paper.py       the paper's own figures (paper.csv)
tables.py      laid out as the paper's; latex.py, figures.py, report.py
"""
