"""Experiments: arms x students x teachers x tasks x seeds, from one file to the tables.

Result files are the only state.

experiment.py  data classes of an experiment; file.py reads one, with entries.py its tasks and
               draws, with variants.py its arms, with choices.py the settings chosen on dev
plan.py        its subjects, runs and evaluations
site.py        addresses of its models, or services started here
flow.py        the whole experiment: identified.py (runs), trained.py (samples.py, repaired.py),
               measured.py, judged.py (held-out records); exam.py asks a run's questions
comparisons.py changes from one model to another; versus.py: between arms
results.py     a row for each arm, student, teacher, task and test; chosen.py: the best variants
uses.py        use of the test draw, which chooses nothing
paper.py       the paper's own figures (paper.csv)
tables.py      tables laid out as in the paper; latex.py, figures.py and report.py write them
"""
