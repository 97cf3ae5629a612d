"""Room for one more model, by the memory that the device itself reports as free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.engines.gpus import machine_memory, visible_gpus
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
    gpus = visible_gpus() if engine.takes_gpu and settings.device != "cpu" else []
    if not gpus:
        needed = engine.memory_bytes(folder, settings, None)
        free, _ = machine_memory()
        return Room(needed, free, "CPU")
    used = gpus[: settings.tensor_parallel]
    total = min(gpu.total for gpu in used)
    return Room(engine.memory_bytes(folder, settings, total), min(gpu.free for gpu in used), "GPU")
