"""Room for one more model, by the memory that the device itself reports as free."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.engines.loading import find_engine
from services.engines.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes on `device`."""

    needed: int
    free: int
    device: str

    @property
    def fits(self) -> bool:
        return self.needed <= self.free

    def __str__(self) -> str:
        verb = "fits" if self.fits else "does not fit"
        return (
            f"a second model {verb}: it takes {_gib(self.needed)}, {_gib(self.free)} are free on "
            f"the {self.device}"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def room_for(folder: Path, settings: EngineSettings) -> Room:
    """Room for the checkpoint in `folder` on the devices of this process.

    Raises InvalidInput: unknown engine, or a damaged checkpoint.
    """
    engine = find_engine(settings.engine)
    gpus = _gpus() if engine.takes_gpu and settings.device != "cpu" else []
    if not gpus:
        needed = engine.memory_bytes(folder, settings, None)
        return Room(needed, psutil.virtual_memory().available, "CPU")
    used = gpus[: settings.tensor_parallel]
    total = min(total for _, total in used)
    return Room(engine.memory_bytes(folder, settings, total), min(free for free, _ in used), "GPU")


def _gpus() -> list[tuple[int, int]]:
    """(free, total) bytes of each GPU that this process may use.

    The driver's own tool is asked, since a library would open a context on the device.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None or visible == "":
        return []
    query = ["nvidia-smi", "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    if visible:
        query += ["--id", visible]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return []
    rows = [line.split(",") for line in answer.stdout.splitlines()]
    return [(int(free) * 2**20, int(total) * 2**20) for free, total in rows]
