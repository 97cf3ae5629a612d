"""`mpa-orch experiment` with the bundled pair in real processes that it starts itself."""

import json
import subprocess
import sys

import pytest

from tests.e2e.processes import ROOT
from zoo import easy_vqa

pytestmark = pytest.mark.slow
FILE = """
students = ["bundled"]
teachers = ["bundled-teacher"]
arms = ["zero-shot", "rehearsal"]
seeds = [0]
recipe = "rehearsal"
latency = 5

[tasks.vqa]
pool = "pool"
limit = 100
test = { files = "test.jsonl", limit = 100 }
"""


def test_a_tiny_grid_on_the_bundled_pair(tmp_path):
    easy_vqa.export(tmp_path / "data")
    (tmp_path / "tiny.toml").write_text(FILE)
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "experiment", str(tmp_path / "tiny.toml"), "--local"]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| bundled | ZS" in done.stdout
    untrained, trained = json.loads((tmp_path / "out/tiny.json").read_text())
    assert (untrained["arm"], trained["arm"]) == ("zero-shot", "rehearsal")
    assert untrained["questions"] == trained["questions"] == 100
    assert 0.4 < untrained["mean"] < 0.8
    assert trained["samples"] > 32
    assert trained["gain"] > 0
    assert 0 < untrained["latency_s"] < 2
    repeated = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (repeated.returncode, repeated.stdout) == (0, done.stdout)
    assert "starting" not in repeated.stderr
