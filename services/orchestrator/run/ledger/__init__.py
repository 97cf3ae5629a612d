"""The ledger of a run: one SQLite file, from which a run that was killed goes on.

`schema` has the tables and `migration` brings older ones up to date; `database` writes in order and in batches, `meta` are the
keys and values, `rows` what is in the tables, and `ledger` reads and writes that.
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
