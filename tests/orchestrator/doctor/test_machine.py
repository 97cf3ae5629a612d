import socket

from services.orchestrator.doctor.finding import Verdict
from services.orchestrator.doctor.machine import PORTS, find_machine


def test_memory_disk_and_ports_are_found(tmp_path):
    environment = {"MPA_STUDENT_STORE": str(tmp_path / "store"), "HF_HOME": str(tmp_path)}
    found = {finding.subject: finding for finding in find_machine(environment)}
    assert "GiB available" in found["memory"].found
    assert str(tmp_path / "store") in found["disk of the student's versions"].found
    assert not (tmp_path / "store").exists()


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        port = next(iter(PORTS))
        try:
            taken.bind(("127.0.0.1", port))
            taken.listen()
        except OSError:
            pass  # another process has it already
        found = {finding.subject: finding for finding in find_machine()}
    assert found[f"port {port}"].verdict is Verdict.WARNING
