"""The engines by name: how each loads a checkpoint, and how much memory it takes.

An engine's library is imported only when a model is loaded.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from services.core import extras
from services.core.errors import InvalidInput
from services.engines import checkpoint, fake, vllm_memory, weights
from services.engines.model import VisionLanguageModel
from services.engines.settings import EngineSettings

_VLLM_ENVIRONMENT = {  # read by vLLM when it is imported
    # A fork of a process that serves gRPC inherits its locked locks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Two services on one machine would otherwise be bound to the same cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One way to run a checkpoint."""

    load: Callable[[Path, EngineSettings], Awaitable[VisionLanguageModel]]
    memory_bytes: Callable[[Path, EngineSettings, int | None], int]
    """Bytes that a loaded checkpoint takes on each device, given a GPU's total (None: a CPU)."""
    takes_gpu: bool = True


async def _load_fake(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    fingerprint = await asyncio.to_thread(checkpoint.fingerprint, folder)
    return fake.FakeEngine(folder, settings, fingerprint)


async def _load_transformers(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    await _import("services.engines.transformers")
    from services.engines import transformers

    return await transformers.load(folder, settings)


async def _load_vllm(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    require_installed("vllm")
    for name, value in _VLLM_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from services.engines import tether, vllm_plugins

    tether.own()
    vllm_plugins.announce()
    await _import("services.engines.vllm")
    from services.engines import vllm

    return await vllm.load(folder, settings)


async def _import(engine: str) -> None:
    """Imports an engine's module in a thread: its library takes seconds."""
    await asyncio.to_thread(importlib.import_module, engine)


ENGINES = {
    "transformers": EngineKind(_load_transformers, weights.memory_bytes),
    "vllm": EngineKind(_load_vllm, vllm_memory.memory_bytes),
    "fake": EngineKind(_load_fake, fake.memory_bytes, takes_gpu=False),
}


def find_engine(name: str) -> EngineKind:
    """Raises InvalidInput: unknown engine."""
    if name not in ENGINES:
        raise InvalidInput(
            f"there is no engine {name!r}: use one of {', '.join(ENGINES)}", field="engine"
        )
    return ENGINES[name]


async def load_model(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    """Raises InvalidInput: unknown engine, or a checkpoint that must not or can't be loaded."""
    checkpoint.check(folder)
    return await find_engine(settings.engine).load(folder, settings)


def require_installed(engine: str) -> None:
    """Raises InvalidInput that names the extra: an optional engine is named after its library."""
    if not extras.is_installed(engine):
        raise InvalidInput(
            f"the {engine} engine is not installed: {extras.install(engine)} on a machine with "
            f"a GPU, .ci/install-{engine}-cpu on one without",
            field="engine",
            reason="ENGINE_NOT_INSTALLED",
        )
