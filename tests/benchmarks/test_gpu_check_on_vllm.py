"""The parts of `make gpu-check`, with tiny models on the CPU build of vLLM."""

import json
import subprocess
import sys

import pytest

from benchmarks.folders import ROOT

pytestmark = pytest.mark.slow
PARTS = (
    "machine",
    "checkpoints",
    "serve",
    "annotate",
    "answer",
    "train",
    "load",
    "two-slots",
    "in-place",
    "stream",
)
"""All but those rows of `make bench` that are measured as `stream` is."""


def test_every_part_of_the_check_runs():
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--scale", "tiny", "--minutes", "20"]
    command += ["--parts", ",".join(PARTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    report = json.loads((ROOT / "build/gpu-check/gpu-check.json").read_text())
    parts = {part["part"]: part for part in report["parts"]}
    assert {part["state"] for part in parts.values()} == {"done"}
    assert tuple(parts) == PARTS
    for name in ("two-slots", "in-place"):
        (lost,) = [one for one in parts[name]["figures"] if one["what"].startswith("lost or mixed")]
        assert lost["value"] == 0
    table = (ROOT / "build/gpu-check/gpu-check.md").read_text()
    assert "LLM.generate offline" in table
