"""`make demo`, cut short: the bundled models go the whole way in real processes."""

import pytest

from tests.e2e.demonstration import demonstrate

pytestmark = pytest.mark.slow


def test_the_demo(tmp_path):
    """Every stage works, and every figure is there. The gain is measured elsewhere."""
    summary, printed = demonstrate("demo", tmp_path, limit=250, every=48)
    assert "starting the student" in printed
    assert "Traceback" not in printed
    assert summary["images"] == 250
    assert summary["cells"]["gap"] > 30
    assert summary["teacher"]["accuracy"] > 0.9
    assert 0.4 < summary["zero_shot"]["accuracy"] < 0.9
    assert summary["version"] == {"before": "v1", "after": "v2"}
    assert summary["swap"]["failed"] == 0
    _, repeated = demonstrate("demo", tmp_path, limit=250, every=48)
    assert "starting the" not in repeated, "a finished run answers from its ledger"
