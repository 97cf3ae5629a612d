import json

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from tests.driver import install_driver


@pytest.mark.slow
def test_doctor_fails_on_a_gpu_that_torch_cant_use(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_driver(monkeypatch, tmp_path, 48, driver="535.183.01", cuda="12.2")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    faults = {one["subject"] for one in report["findings"] if one["verdict"] == "fault"}
    assert "torch" in faults
    assert any(offer["preset"] == "qwen2vl-7b" and offer["settings"] for offer in report["presets"])


@pytest.mark.slow
def test_doctor_accepts_a_machine_without_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "models run on the CPU" in done.stdout
    assert "MPA_STUDENT_PRESET=bundled" in done.stdout
