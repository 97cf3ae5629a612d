"""Memory, disk and ports of this machine."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.core.memory import GIB
from services.engines.host_memory import machine_memory
from services.orchestrator.doctor.finding import Finding, Verdict

PORTS = {
    50051: "gRPC of the teacher",
    50052: "gRPC of the student",
    3000: "HTTP of the student",
    3001: "HTTP of the teacher",
}
DISK_GIB = 100.0
"""Checkpoints of a teacher of 7B and a student of 2B (22 GB), and one training of the student."""
SHARED_MEMORY_GIB = 1.0
_SHARED_MEMORY = Path("/dev/shm")


def find_machine(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Findings about memory, disk and ports."""
    available, total = machine_memory()
    yield Finding(
        "memory",
        Verdict.OK,
        f"{available / GIB:.1f} of {total / GIB:.1f} GiB available, "
        f"{len(os.sched_getaffinity(0))} cores",
    )
    store = Path(environment.get("MPA_STUDENT_STORE") or ".mpa/student")
    hub = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    yield _disk("disk of the student's versions", store, "MPA_STUDENT_STORE")
    yield _disk("disk of downloaded models", hub, "HF_HOME")
    if _SHARED_MEMORY.is_dir():
        yield from _shared_memory(shutil.disk_usage(_SHARED_MEMORY).total)
    yield from _ports()


def _disk(subject: str, folder: Path, setting: str) -> Finding:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free_gib = shutil.disk_usage(there).free / GIB
    found = f"{free_gib:.0f} GiB free in {folder}"
    if free_gib >= DISK_GIB:
        return Finding(subject, Verdict.OK, found)
    return Finding(
        subject,
        Verdict.WARNING,
        found,
        f"a 7B teacher and a 2B student take up to {DISK_GIB:.0f} GiB: "
        f"name a larger disk by {setting}",
    )


def _shared_memory(size: int) -> Iterator[Finding]:
    if size < SHARED_MEMORY_GIB * GIB:
        yield Finding(
            "shared memory",
            Verdict.WARNING,
            f"{size / GIB:.2f} GiB in {_SHARED_MEMORY}",
            "vLLM on several GPUs needs more: start the container with --shm-size 8g",
        )


def _ports() -> Iterator[Finding]:
    taken = [port for port in PORTS if not _is_free(port)]
    for port in taken:
        yield Finding(
            f"port {port}",
            Verdict.WARNING,
            f"in use; it is the default for {PORTS[port]}",
            "a service runs already: stop it, or choose another with --port and --grpc-port",
        )
    if not taken:
        yield Finding("ports", Verdict.OK, f"{', '.join(map(str, PORTS))} are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
