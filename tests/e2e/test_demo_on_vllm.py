"""`make demo-vllm`, cut short: both models in the real vLLM, version 2 swapped in under traffic."""

import pytest

from tests.e2e.demonstration import demonstrate

pytestmark = pytest.mark.slow


def test_the_demo_on_vllm_aligns_and_promotes(tmp_path):
    summary, _ = demonstrate("demo-vllm", tmp_path, limit=400, every=20)
    assert summary["promoted"], summary["reason"]
    assert summary["aligned"]["accuracy"] > summary["zero_shot"]["accuracy"] + 0.2
    assert summary["swap"]["requests"] > 200
    assert summary["swap"]["failed"] == 0
    student = (tmp_path / "run" / "logs" / "student.log").read_text()
    assert "way of the swap: two_slots" in student
    assert "EngineCore" in student, "that is vLLM"
