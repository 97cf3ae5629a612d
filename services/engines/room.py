"""Does one more model fit beside those that are loaded? Memory is asked of the device itself, not of a library's own pool."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.core.errors import InvalidInput
from services.engines.fake import FakeModel
from services.engines.settings import EngineSettings

GIB = 2**30
MARGIN = 1.25
"""Of the weights' size: activations, and what an allocator can't use."""
_ENGINE_GIB = 1.0
"""A vLLM engine's own processes, on a CPU."""
_CPU_KV_CACHE_GIB = 1.0
_MAX_HEADER_BYTES = 100 * 2**20
"""The limit of safetensors itself."""
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


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
        return f"a second model {verb}: it takes {_gib(self.needed)}, {_gib(self.free)} are free on the {self.device}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def room_for(folder: Path, settings: EngineSettings) -> Room:
    """For the checkpoint in `folder`, loaded by an engine of these settings, on the devices of this process."""
    gpus = _gpus() if settings.engine != "fake" and settings.device != "cpu" else []
    if gpus:
        held = gpus[: settings.tensor_parallel]
        free, total = min(free for free, _ in held), min(total for _, total in held)
        return Room(_needed_on_gpu(folder, settings, total), free, "GPU")
    return Room(_needed_on_cpu(folder, settings), psutil.virtual_memory().available, "CPU")


def _needed_on_gpu(folder: Path, settings: EngineSettings, total: int) -> int:
    weights = weight_bytes(folder, _DTYPE_BYTES.get(settings.dtype, 2)) // settings.tensor_parallel
    if settings.engine != "vllm":
        return int(weights * MARGIN)
    if settings.kv_cache_gib:
        return int(weights * MARGIN + settings.kv_cache_gib * GIB)
    return int(settings.memory_share * total)


def _needed_on_cpu(folder: Path, settings: EngineSettings) -> int:
    if settings.engine == "fake":
        return int(FakeModel.read(folder).memory_gib * GIB)
    weights = weight_bytes(folder, _DTYPE_BYTES.get(settings.dtype, 4)) * MARGIN
    if settings.engine == "vllm":
        weights += ((settings.kv_cache_gib or _CPU_KV_CACHE_GIB) + _ENGINE_GIB) * GIB
    return int(weights)


def weight_bytes(folder: Path, bytes_per_parameter: int) -> int:
    """Size of a checkpoint that is loaded with `bytes_per_parameter`; reads only the headers of its safetensors files.

    Raises InvalidInput: a damaged header.
    """
    return sum(_parameters(path) for path in folder.glob("*.safetensors")) * bytes_per_parameter


def _parameters(path: Path) -> int:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        return sum(
            math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
        )
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is damaged: its header can't be read", field="model", reason="VERSION_CORRUPT"
        ) from error


def _gpus() -> list[tuple[int, int]]:
    """(free, total) bytes of each GPU that this process may use, by the driver's own tool; a library would open a context."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None or visible == "":
        return []
    devices = ["--id", visible] if visible else []
    query = [
        "nvidia-smi",
        *devices,
        "--query-gpu=memory.free,memory.total",
        "--format=csv,noheader,nounits",
    ]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = (
        [line.split(",") for line in answer.stdout.splitlines()] if answer.returncode == 0 else []
    )
    return [(int(free) * 2**20, int(total) * 2**20) for free, total in rows]
