"""Labelled data sets in the files that they are published in.

record.py     one question with its references
fields.py     typed reading of a record's keys, with errors that name record and key
textvqa.py stvqa.py chartqa.py okvqa.py icdar.py captions.py pathvqa.py vlmevalkit.py parquet.py authors.py jsonl.py
formats.py    which of them a file is
images.py     where its images are
dataset.py    a file, its format and its images together
checks.py     what is wrong with one, all of it at once
"""
