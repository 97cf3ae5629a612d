"""Real service processes with the fake engine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from services.orchestrator.local import free_ports

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {
    "student": "services.student.service:StudentService",
    "teacher": "services.teacher.service:TeacherService",
}


@dataclass
class ServiceProcess:
    """A `bentoml serve` with its ports and its log."""

    process: subprocess.Popen
    http_port: int
    grpc_port: int
    log: Path

    @property
    def address(self):
        return f"127.0.0.1:{self.grpc_port}"

    def wait_until_ready(self, timeout_s=60.0):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{self.http_port}/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def kill_at_once(self):
        """SIGKILL to the supervisor and its workers, not to their children: those must end by themselves."""
        supervisor = psutil.Process(self.process.pid)
        for process in [*supervisor.children(), supervisor]:
            process.kill()
        self.process.wait()

    def terminate(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@contextmanager
def serving(name, folder, target=None, wait=True, **settings):
    """Starts a service as the README says; `settings` become MPA_<NAME>_*."""
    prefix = f"MPA_{name.upper()}_"
    http_port, grpc_port = free_ports(2)
    grpc_port = settings.pop("grpc_port", grpc_port)
    extra = settings.pop("env", {})
    env = {
        **os.environ,
        "BENTOML_DO_NOT_TRACK": "True",
        # BentoML keeps its metrics there and wipes them whenever a service starts.
        "BENTOML_HOME": str(folder / f"bentoml-{name}"),
        f"{prefix}GRPC_PORT": str(grpc_port),
        f"{prefix}ENGINE": "fake",
        **{prefix + key.upper(): str(value) for key, value in settings.items()},
        **extra,
    }
    log = folder / f"{name}-{http_port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bentoml",
                "serve",
                target or SERVICES[name],
                "--port",
                str(http_port),
            ],
            env=env,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    service = ServiceProcess(process, http_port, grpc_port, log)
    try:
        yield service.wait_until_ready() if wait else service
    finally:
        service.terminate()
