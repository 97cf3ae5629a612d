"""Official figures of any model on any labelled data set: asked once, stored, scored, compared.

tokens.py        captions as words: PTB through Java, else Treebank
metrics.py       the score of each answer, by any metric
respondents.py   the model that is asked: a student's version, a teacher, or an endpoint of chat
                 completions
predictions.py   the answers, stored line by line
asking.py        the stream of questions
figures.py       official and authors' score, by kind, split and data set
conditions.py    model, data sets, metric and prompt, checked before anything is asked
evaluation.py    a whole evaluation in one folder, resumable
comparison.py    two evaluations, paired
report.py        the report.md of an evaluation

reports/scoring.py prints a comparison.
"""
