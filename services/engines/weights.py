"""Memory that a checkpoint's weights take, read from the headers of its safetensors files."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

from services.core.errors import InvalidInput
from services.engines.settings import EngineSettings

MARGIN = 1.25
"""Factor for activations, and for memory that an allocator can't use."""
_MAX_HEADER_BYTES = 100 * 2**20
"""The limit of safetensors itself."""
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def memory_bytes(folder: Path, settings: EngineSettings, gpu_bytes: int | None) -> int:
    """Bytes of the loaded weights and their activations on each device.

    `gpu_bytes`: total memory of a GPU, None on a CPU. Raises InvalidInput: a damaged header.
    """
    dtype_bytes = _DTYPE_BYTES.get(settings.dtype, 4 if gpu_bytes is None else 2)
    devices = 1 if gpu_bytes is None else settings.tensor_parallel
    return int(weight_bytes(folder, dtype_bytes) / devices * MARGIN)


def weight_bytes(folder: Path, bytes_per_parameter: int) -> int:
    """Size of a checkpoint that is loaded with `bytes_per_parameter`.

    Raises InvalidInput: a damaged header.
    """
    return parameters(folder) * bytes_per_parameter


def parameters(folder: Path, is_counted: Callable[[str], bool] = bool) -> int:
    """Number of parameters of a checkpoint, in all tensors or in those with a counted name.

    Raises InvalidInput: a damaged header.
    """
    return sum(
        math.prod(shape)
        for path in folder.glob("*.safetensors")
        for name, shape in _shapes(path).items()
        if is_counted(name)
    )


def adapter_parameters(folder: Path, rank: int) -> int:
    """Parameters of low-rank adapters on every matrix; more than needed, by the embeddings'.

    Raises InvalidInput: a damaged header.
    """
    files = folder.glob("*.safetensors")
    shapes = (shape for path in files for shape in _shapes(path).values())
    return sum(rank * sum(shape) for shape in shapes if len(shape) == 2)


def file_bytes(folder: Path) -> int:
    """Size of a checkpoint's weights on disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a file by name, from its header."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        return {
            name: [int(size) for size in tensor["shape"]]
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except (
        struct.error,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InvalidInput(
            f"{path} is damaged: its header can't be read", field="model", reason="VERSION_CORRUPT"
        ) from error
