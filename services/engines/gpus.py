"""NVIDIA GPUs of this machine, as the driver's own tool reports them.

A library would open a context on the device, which takes memory there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.engines.host_memory import machine_memory
from services.engines.settings import EngineSettings

_TOOL = "nvidia-smi"
_FIELDS = "name,driver_version,memory.free,memory.total"
_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device; memory in bytes."""

    name: str
    driver: str
    """Version of the driver."""
    free: int
    total: int


def has_driver() -> bool:
    """Whether the driver's tool is installed."""
    return shutil.which(_TOOL) is not None


def visible_gpus(devices: str = "") -> list[Gpu]:
    """GPUs that this process may use, in the order of CUDA_VISIBLE_DEVICES; empty if none works.

    `devices`, in the form of that variable, takes its place: the GPUs of another process.
    """
    visible = devices or os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "" or not has_driver():
        return []
    chosen = ["--id", visible] if visible else []
    done = _ask(f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits", *chosen)
    return [_gpu(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def holders() -> dict[int, int]:
    """Bytes of GPU memory by process id, as far as the driver tells."""
    if not has_driver():
        return {}
    done = _ask("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    rows = [line.split(",") for line in done.stdout.splitlines() if line.count(",") == 1]
    return {
        int(pid): int(used) * 2**20
        for pid, used in rows
        if pid.strip().isdigit() and used.strip().isdigit()
    }


def require_named(variable: str, devices: str = "") -> None:
    """Raises InvalidInput: a device in `devices` is no GPU of this machine, so a CPU would compute.

    `devices` is given as to visible_gpus; `variable` set it.
    """
    named = (devices or os.environ.get("CUDA_VISIBLE_DEVICES", "")).split(",")
    # The driver's tool lists no part of a GPU (MIG); -1 hides all GPUs.
    if not has_driver() or not all(re.fullmatch(r"\d+|GPU-.+", each) for each in named):
        return
    if len(visible_gpus(",".join(named))) < len(named):
        found = _ask("--list-gpus").stdout.strip() or "none"
        raise InvalidInput(
            f"{variable} is {','.join(named)}, but not all of these GPUs are there: name those "
            f"that the driver finds, or leave it out; it finds {found}",
            field=variable,
        )


def require_gpus(settings: EngineSettings) -> None:
    """Raises InvalidInput: fewer GPUs than the engine takes. Without any, it runs on the CPU."""
    found = len(visible_gpus())
    if 0 < found < settings.gpus:
        raise InvalidInput(
            f"TENSOR_PARALLEL {settings.tensor_parallel} x DATA_PARALLEL {settings.data_parallel} "
            f"take {settings.gpus} GPUs, but this process sees {found}: lower one of them, or name "
            "more DEVICES",
            field="engine",
        )


def driver_fault() -> str:
    """Message of the driver's tool if it fails; "" if it works or is not installed."""
    if not has_driver():
        return ""
    done = _ask()
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def newest_cuda() -> str:
    """Newest version of CUDA that the driver supports, such as "13.0"; "" if it doesn't say."""
    found = re.search(r"CUDA[\w ]*Version: *([\d.]+)", _ask().stdout) if has_driver() else None
    return found[1] if found else ""


def _gpu(line: str) -> Gpu:
    name, driver, free, total = (cell.strip() for cell in line.rsplit(",", 3))
    if total.isdigit():
        return Gpu(name, driver, int(free) * 2**20, int(total) * 2**20)
    # A device that shares the machine's memory reports none of its own ("[N/A]").
    return Gpu(name, driver, *machine_memory())


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [_TOOL, *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {_LONGEST_S:g} s")
