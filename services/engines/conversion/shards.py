"""Weights of a checkpoint, read tensor by tensor and written shard by shard.

Only one shard of the output is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from services.core.errors import InvalidInput
from services.engines.conversion.converted import read_json
from services.files import write_atomically

SHARD_BYTES = 2 * 2**30
"""Largest shard that is written, and the most memory that a conversion holds."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class ShardReader:
    """The weight files of one or several checkpoints."""

    files: tuple[Path, ...]

    @staticmethod
    def of(*folders: Path) -> ShardReader:
        """Raises InvalidInput: a file that an index names is missing."""
        return ShardReader(tuple(path for folder in folders for path in _files(folder)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def names(self) -> set[str]:
        """Names of all tensors. Raises InvalidInput: a file is damaged."""
        found: set[str] = set()
        for path in self.files:
            with _readable(path), safe_open(path, "pt") as weights:
                found.update(weights.keys())
        return found

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Names and tensors. Raises InvalidInput: a file is damaged."""
        for path in self.files:
            with _readable(path), safe_open(path, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (not a dict)
                    yield name, weights.get_tensor(name)


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    names = sorted(set(read_json(index)["weight_map"].values()))
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
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
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
