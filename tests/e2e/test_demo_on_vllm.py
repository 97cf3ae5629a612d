"""`make demo-vllm`: the whole loop of the demo with both models in the real vLLM, version 2 swapped in under traffic."""

import json
import subprocess
import sys

import pytest

from tests.e2e.processes import ROOT

pytestmark = pytest.mark.slow


def test_the_demo_on_vllm_aligns_and_promotes(tmp_path):
    """With the demo's own images, and a tenth of its test questions."""
    subprocess.run(
        [sys.executable, "-m", "zoo.easy_vqa", str(tmp_path / "data")], cwd=ROOT, check=True
    )
    some = tmp_path / "data" / "some.jsonl"
    some.write_text(
        "".join((tmp_path / "data" / "test.jsonl").read_text().splitlines(keepends=True)[::10])
    )
    run = tmp_path / "demo"
    done = subprocess.run(
        ["make", "demo-vllm", f"RUN={run}", f"EVAL={some}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["promoted"], summary["reason"]
    assert summary["aligned"]["accuracy"] > summary["zero_shot"]["accuracy"] + 0.2
    assert summary["swap"]["requests"] > 200
    assert summary["swap"]["failed"] == 0
    student = (run / "logs" / "student.log").read_text()
    assert "swapped by way of two_slots" in student
    assert "EngineCore" in student, "that is vLLM"
