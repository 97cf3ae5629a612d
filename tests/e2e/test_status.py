"""`mpa-orch status` of running services."""

import base64
import json
import subprocess
import sys

import httpx
import pytest

from tests.e2e.processes import ROOT, serving
from tests.pictures import png
from tests.serving import fake_checkpoint

pytestmark = pytest.mark.slow
IMAGE = base64.b64encode(png()).decode()


def status(*arguments):
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "status", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_figures_of_a_student_and_of_one_without_a_model(tmp_path):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    with serving("student", tmp_path, model=model, store=tmp_path / "store") as student:
        address = f"127.0.0.1:{student.http_port}"
        for question in ("what?", "where?", ""):
            httpx.post(f"http://{address}/v1/vqa", json={"image": IMAGE, "question": question})
        done = status(address, "--json", "--seconds", "0.2")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["role"] == "student" and found["is_ready"] is True
        assert found["pointers"] == {"live": "v1"}
        assert found["errors"] == {"QUESTION_EMPTY": 1}
        assert found["cache_hits"] == 0.5
        assert 0 < found["p50_s"] < 5
        plain = status(address, "--seconds", "0.2")
        assert plain.returncode == 0
        assert "versions\tlive v1" in plain.stdout
    with serving("teacher", tmp_path, wait=False, model=tmp_path / "nowhere") as teacher:
        teacher.wait_until_logged("cannot serve")
        done = status(f"127.0.0.1:{teacher.http_port}", "--seconds", "0.2")
        assert done.returncode == 1
        assert "NOT READY" in done.stdout
