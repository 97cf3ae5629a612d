"""`mpa-orch experiment` with its own processes: the bundled pair, one model in memory at a time."""

import json
import subprocess
import sys

import pytest

from services.engines.fake import true_answer
from tests.e2e.processes import ROOT
from tests.orchestrator.experiments.conftest import write_labelled
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint
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
limit = 60
test = { files = "some.jsonl" }
"""
FAKE = """
[settings.bundled-teacher]
ENGINE = "fake"
MODEL = "./teacher"

[settings.bundled]
ENGINE = "fake"
MODEL = "./student"
"""


def command(folder, text, *more):
    (folder / "tiny.toml").write_text(text)
    program = [
        sys.executable,
        "-m",
        "services.orchestrator.cli.main",
        "experiment",
        str(folder / "tiny.toml"),
        *more,
    ]
    return [*program, "--data", str(folder / "data"), "--out", str(folder / "out")]


def run(asked):
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)


def test_a_tiny_grid_on_the_bundled_pair(tmp_path):
    easy_vqa.export(tmp_path / "data")
    questions = (tmp_path / "data/test.jsonl").read_text().splitlines()[:60]
    (tmp_path / "data/some.jsonl").write_text("\n".join(questions) + "\n")
    asked = command(tmp_path, FILE, "--local")
    done = run(asked)
    assert done.returncode == 0, done.stderr
    assert "| bundled | ZS" in done.stdout
    untrained, trained = json.loads((tmp_path / "out/tiny.json").read_text())
    assert (untrained["arm"], trained["arm"]) == ("zero-shot", "rehearsal")
    assert untrained["questions"] == trained["questions"] == 60
    assert 0.4 < untrained["mean"] < 0.8
    assert trained["samples"] > 32
    assert trained["scores"] == [pytest.approx(untrained["mean"] + trained["gain"])]
    assert 0 < untrained["latency_s"] < 5
    repeated = run(asked)
    assert (repeated.returncode, repeated.stdout) == (0, done.stdout)
    assert "starting" not in repeated.stderr


def test_on_one_device_the_models_take_turns(tmp_path):
    data = tmp_path / "data"
    (data / "pool").mkdir(parents=True)
    for number in range(60):
        (data / "pool" / f"{number}.png").write_bytes(numbered_png(number))
    write_labelled(data / "some.jsonl", range(1000, 1020), true_answer)
    fake_checkpoint(data / "teacher", skill=0.95)
    fake_checkpoint(data / "student", skill=0.3)
    done = run(command(tmp_path, FILE.replace("rehearsal", "paper") + FAKE, "--single-device"))
    assert done.returncode == 0, done.stderr
    started = [
        line.split()[2] for line in done.stderr.splitlines() if line.startswith("starting the")
    ]
    assert started == ["teacher", "student", "teacher", "student", "student"], (
        "annotate, answer, decide; train; evaluate"
    )
    untrained, trained = json.loads((tmp_path / "out/tiny.json").read_text())
    assert trained["samples"] > 16
    assert trained["mean"] > untrained["mean"]
