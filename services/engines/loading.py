"""From an engine's name and a checkpoint to a loaded model. Each engine's library is imported only if it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.engines import checkpoint
from services.engines.model import VisionLanguageModel
from services.environment import Environment

ENGINES = ("transformers", "fake")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a service runs its models.

    `device` "" takes a GPU if there is one; `dtype` "auto" is the checkpoint's own on a GPU, float32 elsewhere; `threads` 0
    leaves the number of CPU threads to torch (two processes that use all cores each slow one another down badly).
    """

    engine: str = "transformers"
    device: str = ""
    dtype: str = "auto"
    threads: int = 0
    max_batch: int = 64
    max_waiting: int = 4096

    @staticmethod
    def from_environment(env: Environment) -> EngineSettings:
        return EngineSettings(
            engine=env.text("ENGINE", "transformers"),
            device=env.text("DEVICE"),
            dtype=env.text("DTYPE", "auto"),
            threads=env.integer("THREADS", 0),
            max_batch=env.integer("MAX_BATCH", 64),
        )


async def load_model(folder: Path, settings: EngineSettings) -> VisionLanguageModel:
    """Raises InvalidInput: unknown engine, or a checkpoint that must not or can't be loaded."""
    checkpoint.check(folder)
    limits = {"max_batch": settings.max_batch, "max_waiting": settings.max_waiting}
    if settings.engine == "fake":
        from services.engines import fake

        return fake.FakeEngine(folder, **limits)
    if settings.engine == "transformers":
        from services.engines import transformers

        return await transformers.load(folder, **limits, device=settings.device, dtype=settings.dtype, threads=settings.threads)
    raise InvalidInput(f"there is no engine {settings.engine!r}: use one of {', '.join(ENGINES)}", field="engine")
