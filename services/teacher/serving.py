"""How the teacher's model is served: what besides a request decides the reply, and what a provider bills for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from services.core.annotation import READER
from services.core.usage import Tariff
from services.engines import checkpoint
from services.teacher.settings import TeacherSettings


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
        return hashlib.sha256(json.dumps([READER, self.engine, *self.conditions]).encode()).hexdigest()


UNSTATED = Serving()


def of_checkpoint(settings: TeacherSettings, folder: Path) -> Serving:
    conditions = (settings.engine.dtype, checkpoint.processor_sha256(folder))
    return Serving(conditions, settings.engine.engine, settings.preset.name, settings.model)


def of_provider(settings: TeacherSettings) -> Serving:
    """Raises InvalidInput: the price table can't be read."""
    from services.engines.openai.images import ENCODING
    from services.engines.openai.prices import FREE, image_tokens, price_of

    assert settings.openai is not None
    found, detail = price_of(settings.model, settings.openai.prices), settings.openai.image_detail
    tariff = Tariff(found.input, found.output, image_tokens(settings.model, detail)) if found != FREE else None
    return Serving((detail, ENCODING, settings.openai.guided), "openai", settings.preset.name, settings.model, tariff)
