"""Labelled data sets in their published formats.

record.py     one question with its references
fields.py     typed reading of a record's keys, with errors that name record and key
formats.py    all formats, and the choice of a file's: textvqa.py, stvqa.py, chartqa.py, okvqa.py,
              icdar.py, captions.py, pathvqa.py, vlmevalkit.py, parquet.py, authors.py, jsonl.py
images.py     the place of its images
dataset.py    a file, its format and its images together
checks.py     all faults of a data set at once; reports/datasets.py prints them
"""
