"""How a provider's model is served: what besides a request decides the reply, and what is billed for it."""

from __future__ import annotations

from services.core.usage import Tariff
from services.engines.serving import Serving
from services.teacher.settings import TeacherSettings


def of_provider(settings: TeacherSettings) -> Serving:
    """Raises InvalidInput: the price table can't be read."""
    from services.engines.openai.images import ENCODING
    from services.engines.openai.prices import FREE, image_tokens, price_of

    assert settings.openai is not None
    found, detail = price_of(settings.model, settings.openai.prices), settings.openai.image_detail
    tariff = (
        Tariff(found.input, found.output, image_tokens(settings.model, detail))
        if found != FREE
        else None
    )
    return Serving(
        (detail, ENCODING, settings.openai.guided),
        "openai",
        settings.preset.name,
        settings.model,
        tariff,
    )
