"""The student's errors in the gap: its answers where the teacher confirmed its annotation."""

from __future__ import annotations

from services.core.knowledge_gaps import Mistake
from services.orchestrator.audit.key import DrawnItem
from services.orchestrator.run.ledger.opinions import samples_of
from services.orchestrator.run.run import Run


def mistake(run: Run, drawn: DrawnItem) -> Mistake:
    """The error of the version that the round began with."""
    ledger = run.ledger
    given = ledger.answer(drawn.image_sha256, drawn.question, "student", run.state.the_base.name)
    assert given is not None  # a record of the gap has one
    samples = samples_of(ledger, (drawn.image_sha256, drawn.question, drawn.answer))
    return Mistake(drawn.question, drawn.answer, given.answer, samples)
