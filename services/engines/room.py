"""Room for one more model, by the memory that the device itself reports as free."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import WrongState
from services.core.memory import GIB, NO_ROOM
from services.engines import weights
from services.engines.gpus import holders, require_named, visible_gpus
from services.engines.host_memory import machine_memory
from services.engines.loading import find_engine
from services.engines.settings import EngineSettings

PATIENCE_S = 20.0
"""Longest wait for the memory of an engine that has just ended."""
LOOK_EVERY_S = 1.0
SPARE_SHARE = 0.1
"""Share of a GPU for the cache of keys and values, in the advice of a share."""
LARGEST_SHARE = 0.95


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
            f"a second model {verb}: it takes {gib(self.needed)}, {gib(self.free)} are free on "
            f"the {self.device}"
        )


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / GIB:.1f} GiB"


def takes_gpu(settings: EngineSettings) -> bool:
    """Whether the engine computes on a GPU if there is one."""
    return find_engine(settings.engine).takes_gpu and settings.device != "cpu"


def room_for(folder: Path, settings: EngineSettings) -> Room:
    """Room for the checkpoint in `folder` on the devices of this process.

    Raises InvalidInput: unknown engine, or a damaged checkpoint.
    """
    free, total = free_memory(settings.gpus if takes_gpu(settings) else 0)
    needed = find_engine(settings.engine).memory_bytes(folder, settings, total)
    return Room(needed, free, "CPU" if total is None else "GPU")


def free_memory(gpus: int, devices: str = "") -> tuple[int, int | None]:
    """Free and total bytes of the fullest of the first N GPUs that may be used.

    Without a GPU, or for 0: the machine's available memory, and None. `devices`: as visible_gpus.
    """
    used = visible_gpus(devices)[:gpus] if gpus else []
    if used:
        return min(gpu.free for gpu in used), min(gpu.total for gpu in used)
    free, _ = machine_memory()
    return free, None


async def require_room(folder: Path, settings: EngineSettings, patience_s: float = 0.0) -> None:
    """Raises WrongState (NO_ROOM) before weights are read that a GPU has no room for.

    `patience_s`: longest wait for the memory of an engine that has just ended.
    Raises InvalidInput: a GPU that DEVICES names is not there.
    """
    if takes_gpu(settings):
        await asyncio.to_thread(require_named, "DEVICES")
    room = await asyncio.to_thread(room_for, folder, settings)
    if room.device == "CPU":
        return
    _require_share(folder, settings, room.needed)
    end = time.monotonic() + patience_s
    while not room.fits:
        if time.monotonic() > end:
            held = await asyncio.to_thread(holders)
            named = ", ".join(f"process {pid} holds {gib(size)}" for pid, size in held.items())
            raise WrongState(
                f"the model in {folder} takes {gib(room.needed)} of the GPU, but only "
                f"{gib(room.free)} are free{f' ({named})' if named else ''}: end the other "
                "process, choose another GPU by DEVICES, or set a lower MEMORY_SHARE for both",
                reason=NO_ROOM,
            )
        await asyncio.sleep(LOOK_EVERY_S)
        room = await asyncio.to_thread(room_for, folder, settings)


def _require_share(folder: Path, settings: EngineSettings, share_bytes: int) -> None:
    """Raises WrongState (NO_ROOM): the engine's share of the GPU can't hold the weights."""
    _, total = free_memory(settings.gpus)
    if settings.engine != "vllm" or total is None:
        return
    least = weights.memory_bytes(folder, settings, total)
    if least > share_bytes:
        share = round(least / total + SPARE_SHARE, 2)
        way_out = (
            f"set it to {share:g}; above 0.45 a new version replaces the live one in its place"
            if share <= LARGEST_SHARE
            else "divide the model by TENSOR_PARALLEL, or choose a larger GPU by DEVICES"
        )
        raise WrongState(
            f"MEMORY_SHARE is {settings.memory_share:g}, which is {gib(share_bytes)} of a GPU, but "
            f"the weights in {folder} take {gib(least)}: {way_out}",
            reason=NO_ROOM,
        )
