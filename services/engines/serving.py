"""Serving conditions of a model: everything but the request that decides its replies."""

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
    """How a model is served. `preset` and `model` are names for people."""

    conditions: tuple[str, ...] = ()
    """Everything that decides a reply besides request, engine and the model's fingerprint."""
    engine: str = ""
    preset: str = ""
    model: str = ""
    tariff: Tariff | None = None
    """Prices of a provider; None for a model on our own machines."""
    pixel_budget: str = ""
    """Sizes of the image processor, as JSON; "" if unknown. The conditions include them."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256. Engine and precision count: with another, a seed draws another reply."""
        return hashlib.sha256(
            json.dumps([READER, self.engine, *self.conditions]).encode()
        ).hexdigest()


UNSTATED = Serving()


_DRAWS = {"transformers": "splitmix64"}
"""Source of an engine's random numbers: another one draws other replies from the same seed."""


def of_checkpoint(folder: Path, engine: EngineSettings, preset: str, model: str) -> Serving:
    """Serving of a checkpoint: precision, processor (pixel budget) and source of random numbers."""
    draws = (_DRAWS[engine.engine],) if engine.engine in _DRAWS else ()
    conditions = (engine.dtype, checkpoint.processor_sha256(folder), *draws)
    return Serving(
        conditions, engine.engine, preset, model, pixel_budget=checkpoint.pixel_budget(folder)
    )
