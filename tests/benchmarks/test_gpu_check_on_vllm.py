"""The parts of `make gpu-check`, with tiny models on two cores.

vLLM starts for the row that is measured next to `LLM.generate`. Other parts run on transformers,
which starts sooner: test_demo_on_vllm.py and test_student_on_vllm.py show that services on vLLM
annotate, train and swap.
"""

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
)
"""All but the rows of `make bench`, which are measured as `stream` is."""


def check(engine, *names):
    """The parts of the report by name, and its table."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--scale", "tiny", "--minutes", "20"]
    command += ["--engine", engine, "--parts", ",".join(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    report = json.loads((ROOT / "build/gpu-check/gpu-check.json").read_text())
    parts = {part["part"]: part for part in report["parts"]}
    assert {part["state"] for part in parts.values()} == {"done"}
    assert tuple(parts) == names
    return parts, (ROOT / "build/gpu-check/gpu-check.md").read_text()


def test_every_part_of_the_check_runs():
    parts, _ = check("transformers", *PARTS)
    for name in ("two-slots", "in-place"):
        (lost,) = [one for one in parts[name]["figures"] if one["what"].startswith("lost or mixed")]
        assert lost["value"] == 0


def test_a_row_is_measured_on_vllm():
    _, table = check("vllm", "stream")
    assert "LLM.generate offline" in table
