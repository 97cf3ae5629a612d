from typing import Any

import pytest

from services.core.parity import Cell
from services.orchestrator.run.ledger.search import Filter, find


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (Filter(cells=(Cell.GAP,)), "INDEX records_by_cell"),
        (Filter(rejection="no_question"), "INDEX rejected_annotations"),
        (Filter(question="thing"), "COVERING INDEX questions"),
    ],
)
def test_a_page_is_read_by_an_index_and_sorted_by_none(ledger, chosen, index):
    class Explained:
        round = 1

        def read(self, statement, *values):
            return ledger.read(f"EXPLAIN QUERY PLAN {statement}", *values)

    explained: Any = Explained()
    plan = " / ".join(str(row[3]) for row in find(explained, chosen, 20, 0))
    assert index in plan
    assert "TEMP B-TREE" not in plan
