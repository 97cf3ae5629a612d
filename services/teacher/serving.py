"""Serving of a provider's model: the settings that decide its replies, and its price."""

from __future__ import annotations

from services.core.usage import Tariff
from services.engines.serving import Serving
from services.teacher.settings import TeacherSettings


def of_provider(settings: TeacherSettings) -> Serving:
    """Serving by the provider in the settings. Raises InvalidInput: a bad price table."""
    from services.engines.openai.images import ENCODING
    from services.engines.openai.prices import FREE, image_tokens, price_of

    assert settings.openai is not None
    price = price_of(settings.model, settings.openai.prices)
    detail = settings.openai.image_detail
    tariff = Tariff(price.input, price.output, image_tokens(settings.model, detail))
    return Serving(
        (detail, ENCODING, settings.openai.guided),
        engine="openai",
        preset=settings.preset.name,
        model=settings.model,
        tariff=tariff if price != FREE else None,
    )
