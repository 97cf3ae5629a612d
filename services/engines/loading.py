"""From an engine's name and a checkpoint to a loaded model. Each engine's library is imported only if it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from services.core import extras
from services.core.errors import InvalidInput
from services.engines import checkpoint
from services.engines.model import VisionLanguageModel
from services.engines.settings import EngineSettings

ENGINES = ("transformers", "vllm", "fake")

_VLLM_ENVIRONMENT = {  # read by vLLM when it is imported
    # A fork of a process that serves gRPC inherits its locked locks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Two services on one machine would otherwise be bound to the same cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


async def load_model(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    """Raises InvalidInput: unknown engine, or a checkpoint that must not or can't be loaded."""
    checkpoint.check(folder)
    if settings.engine == "fake":
        from services.engines import fake

        return fake.FakeEngine(folder, settings)
    if settings.engine == "transformers":
        from services.engines import transformers

        return await transformers.load(folder, settings)
    if settings.engine == "vllm":
        require_installed("vllm")
        for name, value in _VLLM_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from services.engines import tether

        tether.own()
        from services.engines import vllm

        return await vllm.load(folder, settings)
    raise InvalidInput(
        f"there is no engine {settings.engine!r}: use one of {', '.join(ENGINES)}", field="engine"
    )


def require_installed(engine: str) -> None:
    """Raises InvalidInput that names the extra: the library of an optional engine goes by the engine's name."""
    if not extras.is_installed(engine):
        raise InvalidInput(
            f"the {engine} engine is not installed: {extras.install(engine)} on a machine with "
            f"a GPU, .ci/install-{engine}-cpu on one without",
            field="engine",
            reason="ENGINE_NOT_INSTALLED",
        )
