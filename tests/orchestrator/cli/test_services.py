import json
import socket

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from services.orchestrator.endpoints.processes import free_ports
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


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_refused_by_name(monkeypatch, tmp_path, option, host):
    monkeypatch.chdir(tmp_path)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        free = {"--port": free_ports(1)[0], "--grpc-port": free_ports(1)[0], option: port}
        ports = [word for name, value in free.items() for word in (name, str(value))]
        done = CliRunner().invoke(app, ["serve", "student", "--host", host, *ports])
    assert done.exit_code == 1
    assert f"port {port} of {host} can't be used" in done.stderr
    assert f"choose another with {option}" in done.stderr


def test_a_port_out_of_range_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["serve", "teacher", "--port", "70000"])
    assert done.exit_code == 1
    assert "port 70000 of 127.0.0.1 can't be used" in done.stderr
