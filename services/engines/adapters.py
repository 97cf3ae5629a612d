"""Low-rank adapters: on disk, in peft's format, and as models on an engine that has their base.

peft's files are adapter_config.json and adapter_model.safetensors.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from services.core.errors import InvalidInput
from services.engines import checkpoint
from services.engines.model import Parallel, Prompt, Reply

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def sha256(folder: Path) -> str:
    """Hex SHA-256 over the adapter's configuration and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def fingerprint(base: str, folder: Path) -> str:
    """Fingerprint of a base model (`base` is its fingerprint) with the adapter in `folder`."""
    return hashlib.sha256(f"{base} {sha256(folder)}".encode()).hexdigest()


def rank(folder: Path) -> int:
    """Rank of the adapter in `folder`; 1 if its configuration is missing."""
    config = folder / CONFIG
    return int(json.loads(config.read_text())["r"]) if config.is_file() else 1


def require_fits(folder: Path, base: Path, max_rank: int) -> None:
    """Raises InvalidInput: no adapter, one for another base, or one whose rank is too high."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise InvalidInput(
            f"{folder} holds no {CONFIG} and {WEIGHTS}: it is not an adapter", field="model"
        )
    config = json.loads((folder / CONFIG).read_text())
    wanted = config.get("base_model_name_or_path", "")
    found = checkpoint.weights_sha256(base)
    if wanted != found:
        raise InvalidInput(
            f"the adapter in {folder} was trained on a base of sha256 {wanted[:12]}..., "
            f"the loaded base has {found[:12]}...: load its own base",
            field="model",
            reason="ADAPTER_OF_ANOTHER_BASE",
        )
    if config["r"] > max_rank:
        raise InvalidInput(
            f"the adapter in {folder} has rank {config['r']}, this engine takes up to {max_rank}: "
            "set MAX_LORA_RANK higher",
            field="model",
            reason="ADAPTER_RANK",
        )


def fitting(folder: Path, base: Path, max_rank: int, base_fingerprint: str) -> str:
    """Fingerprint of `base` with the adapter in `folder`. Raises as `require_fits`. Reads both."""
    require_fits(folder, base, max_rank)
    return fingerprint(base_fingerprint, folder)


class AdapterBase(Protocol[A_contra]):
    """An engine with adapters next to its own weights, each known by an `A_contra`."""

    async def generate_with(self, prompt: Prompt, adapter: A_contra) -> Reply:
        """Answers by an adapter. Raises as `VisionLanguageModel.generate`."""

    async def death(self) -> str:
        """Returns the reason if the engine dies by itself."""

    async def drop_adapter(self, adapter: A_contra) -> None:
        """Frees an adapter's memory. Does nothing on a dead engine; doesn't wait for a hung one."""


class AdaptedModel(Generic[A]):
    """An adapter on an engine, as a model of its own."""

    def __init__(self, base: AdapterBase[A], adapter: A, fingerprint: str) -> None:
        self._base = base
        self._adapter = adapter
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def copies(self) -> int:
        """Copies of the engine, each of which has the adapter."""
        return self._base.copies if isinstance(self._base, Parallel) else 1

    async def generate(self, prompt: Prompt) -> Reply:
        return await self._base.generate_with(prompt, self._adapter)

    async def death(self) -> str:
        return await self._base.death()

    async def close(self) -> None:
        await self._base.drop_adapter(self._adapter)
