import re

import pytest

from services.orchestrator.run.ledger.counts import LAST_ATTEMPTS, LOW_GAP, MOVES
from services.orchestrator.run.ledger.opinions import BY_CELL, OUTVOTED
from services.orchestrator.run.ledger.selections import AUDITED_GAP, GAP


@pytest.mark.parametrize(
    "statement", [MOVES, LAST_ATTEMPTS, BY_CELL, OUTVOTED, AUDITED_GAP, LOW_GAP, GAP]
)
def test_what_else_is_known_of_an_image_is_found_by_its_shelf(ledger, statement):
    plan = [
        step
        for *_, step in ledger.read(f"EXPLAIN QUERY PLAN {statement}", *[0] * statement.count("?"))
    ]
    named = re.compile(r"(?:SCAN|SEARCH) (?:a|b|r|redone|earlier|annotations|records)\b")
    _, *others = [step for step in plan if named.match(step)]
    assert others
    assert all("(shelf=? AND image_sha256=?" in step for step in others), plan
