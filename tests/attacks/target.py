"""A service process under attack: its use of the machine, and its health."""

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.processes import ServiceProcess

MIB = 2**20
MOST_MORE_BYTES = 512 * MIB
MOST_MORE_DESCRIPTORS = 32
PATIENCE_S = 20.0
"""A guard against hanging, not a measure of speed: the machine may be busy."""


@dataclass(frozen=True)
class Identity:
    """Files of a caller: its authority, and its certificate with key."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self):
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def credentials(self):
        pair = [path.read_bytes() if path else None for path in (self.key, self.certificate)]
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), *pair)


@dataclass
class Target:
    """A process under attack. `is_wounded`: an attack succeeded; the next gets a new process.

    `key`: the bystander's, "" if the service has no keys. `identity`: the bystander's, if the
    service has TLS.
    """

    role: str
    service: ServiceProcess
    answers: bool = True
    is_wounded: bool = False
    key: str = ""
    identity: Identity | None = None

    @property
    def bearing(self):
        """The header, or metadata, of a legitimate caller."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def url(self):
        scheme = "https" if self.identity else "http"
        return f"{scheme}://127.0.0.1:{self.service.http_port}"

    @property
    def tls(self):
        """TLS of an HTTP client; certificates are not checked without it."""
        return self.identity.context() if self.identity else False

    def channel(self, options=()):
        """A channel of a legitimate caller."""
        if self.identity is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, self.identity.credentials(), options=options)

    @property
    def address(self):
        return self.service.address

    def processes(self):
        """The supervisor, its workers, and all processes that they started."""
        with suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(self.service.process.pid)
            return [supervisor, *supervisor.children(recursive=True)]
        return []

    def resident_bytes(self):
        return sum(_ask(process, lambda it: it.memory_info().rss) for process in self.processes())

    def descriptors(self):
        return sum(_ask(process, psutil.Process.num_fds) for process in self.processes())

    def identities(self):
        """Process ids of supervisor and workers; a replaced worker has a new one."""
        with suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(self.service.process.pid)
            return {supervisor.pid, *(child.pid for child in supervisor.children())}
        return set()

    def complaint(self):
        """The reason why it is unhealthy; "" if it is healthy."""
        if self.service.process.poll() is not None:
            return f"it has ended with code {self.service.process.returncode}"
        with httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=self.tls) as http:
            for path in ("/livez", "/readyz"):
                try:
                    response = http.get(path)
                except httpx.HTTPError as error:
                    return f"{path}: {error!r}"
                if response.status_code != 200:
                    return f"{path} is {response.status_code}"
        channel = (
            grpc.secure_channel(self.address, self.identity.credentials())
            if self.identity
            else grpc.insecure_channel(self.address)
        )
        with channel:
            try:
                check = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=PATIENCE_S
                )
            except grpc.RpcError as error:
                return f"gRPC health: {error.code().name} {error.details()}"
        return (
            ""
            if check.status == health_pb2.HealthCheckResponse.SERVING
            else "gRPC health says NOT_SERVING"
        )

    def log_size(self):
        return self.service.log.stat().st_size

    def log_since(self, size):
        with self.service.log.open("rb") as log:
            log.seek(size)
            return log.read().decode(errors="replace")

    def kill(self):
        """Kills all its processes."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.service.process.wait()
        psutil.wait_procs(processes, timeout=10)


def _ask(process, question):
    try:
        return question(process)
    except psutil.Error:
        return 0


def settles(reading, limit, timeout_s=20.0):
    """The first reading within the limit, or the last one when time is up."""
    end = time.monotonic() + timeout_s
    while (value := reading()) > limit and time.monotonic() < end:
        time.sleep(0.1)
    return value
