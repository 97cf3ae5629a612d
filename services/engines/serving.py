"""How a model is served: what besides a request decides its replies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from services.core.annotation import READER
from services.core.usage import Tariff
from services.engines import checkpoint
from services.engines.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Serving:
    """`conditions`: what decides a reply beside the request and the model's fingerprint. `tariff` None: a model of one's own.

    `engine`, `preset` and `model` are names for people.
    """

    conditions: tuple[str, ...] = ()
    engine: str = ""
    preset: str = ""
    model: str = ""
    tariff: Tariff | None = None

    @property
    def sha256(self) -> str:
        """Hex. The engine counts, and its precision: a seed draws another reply there."""
        return hashlib.sha256(
            json.dumps([READER, self.engine, *self.conditions]).encode()
        ).hexdigest()


UNSTATED = Serving()


def of_checkpoint(folder: Path, engine: EngineSettings, preset: str, model: str) -> Serving:
    """The image processor decides with its pixel budget, the engine with its precision."""
    return Serving(
        (engine.dtype, checkpoint.processor_sha256(folder)), engine.engine, preset, model
    )
