"""`mpa-orch ui` itself: its address, and addresses that it refuses."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from tests.orchestrator.ui.exhibits import make_run


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_the_printed_address_is_served_until_an_interrupt(tmp_path, host):
    make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "ui", tmp_path / "runs"]
    with subprocess.Popen(
        [*command, "--host", host, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        address = process.stdout.readline().split()[0]
        assert address.startswith(f"http://{host}:")
        assert ">a</bdi>" in httpx.get(address, timeout=30).text
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpu1"])
def test_other_machines_are_let_in_by_choice_alone(host, tmp_path):
    result = CliRunner().invoke(app, ["ui", str(tmp_path), "--host", host])
    assert result.exit_code == 1
    assert "--allow-remote" in result.output


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["ui", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} can't be listened on" in result.output
