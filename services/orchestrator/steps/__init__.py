"""The steps of an alignment, named as in the paper: a module each.

admission.py       images enter the run, without duplicates
leaks.py           images of evaluation sets stay out, too
annotation.py      Pseudo Annotator (Section 3.1)
focus.py           the kinds of questions that a later round asks for
identification.py  Parity Identifier (Section 3.2, Eq. 1 and 2)
sampling.py        samples of each teacher's answer, to estimate label noise
corrections.py     people's reviews in place of the models' verdicts
parity_set.py      the training samples
leveling.py        Parity Leveler (Section 3.3): the student's training endpoint
evaluation.py      candidate against live
questioning.py     many questions to several models
labelled.py        a labelled set to measure on
promotion.py       the swap; traffic.py: requests that are under way meanwhile
"""
