"""Weights of a checkpoint, read tensor by tensor and written shard by shard.

Only one shard of the output is in memory at a time. Files of PyTorch (pytorch_model*.bin) are read
as tensors alone, so none of them runs code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from services.core.errors import InvalidInput
from services.engines import checkpoint
from services.engines.conversion.converted import read_json
from services.files import write_atomically

SHARD_BYTES = 2 * 2**30
"""Largest shard that is written, and the most memory that a conversion holds."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LAYOUTS = ((INDEX, "*.safetensors"), ("pytorch_model.bin.index.json", "pytorch_model*.bin"))
"""Index and weight files of a checkpoint; the first layout that is there counts."""


def find(model: str) -> Path:
    """Folder of a published checkpoint; weights of PyTorch are downloaded if it has no others.

    Raises NotFound.
    """
    folder = checkpoint.resolve(model)
    has_safetensors = any(folder.glob("*.safetensors"))
    return folder if has_safetensors else checkpoint.resolve(model, with_bin=True)


@dataclass(frozen=True, slots=True)
class ShardReader:
    """The weight files of one or several checkpoints."""

    files: tuple[Path, ...]

    @staticmethod
    def of(*folders: Path) -> ShardReader:
        """Raises InvalidInput: there are no weights, or a file that an index names is missing."""
        return ShardReader(tuple(path for folder in folders for path in _files(folder)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def names(self) -> set[str]:
        """Names of all tensors. Raises InvalidInput: a file is damaged."""
        found: set[str] = set()
        for path in self.files:
            with _opened(path) as (names, _):
                found.update(names)
        return found

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Names and tensors. Raises InvalidInput: a file is damaged."""
        for path in self.files:
            with _opened(path) as (names, read):
                for name in names:
                    yield name, read(name)


def _files(folder: Path) -> list[Path]:
    for index, pattern in LAYOUTS:
        if (folder / index).is_file():
            return _listed(folder, index)
        if found := sorted(folder.glob(pattern)):
            return found
    patterns = " or ".join(pattern for _, pattern in LAYOUTS)
    raise InvalidInput(
        f"{folder} holds no weights ({patterns}): download the checkpoint again", field="source"
    )


def _listed(folder: Path, index: str) -> list[Path]:
    names = sorted(set(read_json(folder / index)["weight_map"].values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidInput(
            f"{folder} lacks {len(missing)} of its {len(names)} weight files "
            f"({', '.join(missing)}): download them, then repeat",
            field="source",
            reason="SHARD_MISSING",
        )
    return [folder / name for name in names]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Callable[[str], Any]]]:
    """Names of a file's tensors, and a function that reads one of them."""
    try:
        if path.suffix == ".bin":
            found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            yield list(found), found.__getitem__
        else:
            with safe_open(path, "pt") as weights:
                yield list(weights.keys()), weights.get_tensor
    except UnpicklingError as error:
        raise InvalidInput(
            f"{path} holds more than tensors and could run code when loaded, so it is not read: "
            "convert its weights to safetensors",
            field="source",
            reason="CHECKPOINT_UNSAFE",
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise InvalidInput(
            f"{path} is damaged or incomplete ({error}): download it again",
            field="source",
            reason="CHECKPOINT_CORRUPT",
        ) from error


class ShardWriter:
    """Writes tensors into a new checkpoint folder. `finish` completes it."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._pending: dict[str, Any] = {}
        self._pending_bytes = 0
        self._shards: list[list[str]] = []
        self._bytes = 0

    def add(self, name: str, tensor: Any) -> None:
        """Raises OSError: the disk is full."""
        if self._pending and self._pending_bytes + tensor.nbytes > self._shard_bytes:
            self._write()
        # A copy: slices of one tensor share its memory, which safetensors refuses.
        self._pending[name] = tensor.clone().contiguous()
        self._pending_bytes += tensor.nbytes

    def finish(self) -> None:
        """Writes the last shard, names all and writes their index. Raises OSError."""
        self._write()
        if len(self._shards) == 1:
            self._draft(1).rename(self._folder / SINGLE)
            return
        weight_map: dict[str, str] = {}
        for number, names in enumerate(self._shards, 1):
            name = f"model-{number:05}-of-{len(self._shards):05}.safetensors"
            self._draft(number).rename(self._folder / name)
            weight_map.update(dict.fromkeys(names, name))
        index = {"metadata": {"total_size": self._bytes}, "weight_map": weight_map}
        write_atomically(self._folder / INDEX, json.dumps(index, indent=2, sort_keys=True))

    def _draft(self, number: int) -> Path:
        return self._folder / f"shard-{number}"

    def _write(self) -> None:
        try:
            save_file(self._pending, self._draft(len(self._shards) + 1), metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(str(error)) from error
        self._shards.append(list(self._pending))
        self._bytes += self._pending_bytes
        self._pending = {}
        self._pending_bytes = 0
