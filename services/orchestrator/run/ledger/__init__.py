"""The ledger of a run: one SQLite file, from which a killed run continues. All SQL is here.

database.py    writes in order and in batches
schema.py      the tables; migration.py: updates of older ones
meta.py        keys and values
rows.py        contents of the tables; ledger.py reads and writes them
counts.py      counts
selections.py  images and annotations that a step works on
search.py      annotations by a filter
opinions.py    votes and samples
evidence.py    everything on one question
losses.py      losses of training samples
excerpt.py     one image's rows as a text
catalogue.py   its entries by facet and word, in a file next to it: facets.py, shelves.py (what is
               read from the ledger), renewal.py (what has changed), browsing.py (queries)
review_book.py people's reviews, in another file next to it
"""

from services.orchestrator.run.ledger.ledger import FAILED, Ledger
from services.orchestrator.run.ledger.meta import STEPS_OF_A_ROUND
from services.orchestrator.run.ledger.rows import AnnotationRow, AnswerRow, ImageRow, Record
from services.orchestrator.run.ledger.schema import POOL, PRODUCTION, SCHEMA_VERSION, shelf_of

__all__ = [
    "FAILED",
    "POOL",
    "PRODUCTION",
    "SCHEMA_VERSION",
    "STEPS_OF_A_ROUND",
    "AnnotationRow",
    "AnswerRow",
    "ImageRow",
    "Ledger",
    "Record",
    "shelf_of",
]
