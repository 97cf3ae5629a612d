"""Real service processes with the fake engine."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from services.orchestrator.endpoints.processes import free_ports
from tests.waiting import until_true

ROOT = Path(__file__).resolve().parents[2]
BENTOML = (sys.executable, "-m", "bentoml")
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

    def wait_until_ready(self, timeout_s=90.0):
        def is_ready():
            assert self.process.poll() is None, self.log.read_text()
            return is_serving(self.http_port)

        until_true(is_ready, timeout_s, describe=self.log.read_text)
        return self

    def wait_until_logged(self, words):
        until_true(lambda: words in self.log.read_text(), describe=self.log.read_text)

    def kill_at_once(self):
        """SIGKILL to the supervisor and its workers; their children must end by themselves."""
        supervisor = psutil.Process(self.process.pid)
        for process in [*supervisor.children(), supervisor]:
            process.kill()
        self.process.wait()

    def terminate(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def is_serving(http_port):
    """Whether it is ready. Certificates are not loaded: that takes longer than the request."""
    with suppress(httpx.TransportError):
        ready = httpx.get(f"http://127.0.0.1:{http_port}/readyz", verify=False)
        return ready.status_code == 200
    return False


def make(target, **variables):
    """Runs a target of the Makefile with the interpreter of the tests: nothing is installed."""
    installed = [f"--old-file=.venv/.installed{variant}" for variant in ("", "-vllm")]
    given = {"BIN": Path(sys.executable).parent, **variables}
    words = [f"{name}={value}" for name, value in given.items()]
    command = ["make", target, *installed, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)


def build_bento(folder, *options):
    """Tag and folder of a bento in the store below `folder`."""
    env = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [*BENTOML, "build", "-o", "tag", *options, "."]
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    tag = built.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    return tag, folder / "bentoml" / "bentos" / tag.replace(":", "/")


@contextmanager
def serving(name, folder, target=None, wait=True, within=(), **settings):
    """Starts a service as the README says; `settings` become MPA_<NAME>_*.

    `within`: a command that runs the service as its last arguments.
    """
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
            [*within, *BENTOML, "serve", target or SERVICES[name], "--port", str(http_port)],
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
