"""Official figures of any model on any labelled data set: asked once, kept, scored, compared.

tokens.py        captions as words: PTB through Java, else Treebank
metrics.py       the score of each answer, by any metric
respondents.py   who is asked: a student's version, a teacher, an endpoint of chat completions
predictions.py   what was answered, kept line by line
asking.py        the stream of questions
figures.py       official and authors' score, by kind, split and data set
conditions.py    what an evaluation is of, checked before anything is asked
evaluation.py    all of it in one folder, resumable
comparison.py    two of them, paired
report.py        for people; comparison_report.py of two
"""
