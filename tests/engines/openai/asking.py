"""Engines of a provider, and prompts for them."""

from services.engines.images import load_image
from services.engines.model import Prompt
from services.engines.openai import engine as openai
from services.engines.openai.settings import OpenAISettings
from services.environment import Environment
from tests.engines.provider import KEY, MODEL
from tests.pictures import png

IMAGE = load_image(png("red"))


def prompt(text="what is it?", **fields):
    return Prompt(IMAGE, text, **fields)


def settings_of(provider, **variables):
    given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url}
    given |= {f"MPA_TEACHER_{name}": str(value) for name, value in variables.items()}
    return OpenAISettings.from_environment(Environment("MPA_TEACHER_", given))


class running:
    """An engine of `provider`, closed at the end."""

    def __init__(self, provider, model=MODEL, **variables):
        self.model = model
        self.settings = settings_of(provider, **variables)

    async def __aenter__(self):
        self.engine = await openai.load(self.model, self.settings)
        return self.engine

    async def __aexit__(self, *_):
        await self.engine.close()
