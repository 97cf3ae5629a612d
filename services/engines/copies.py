"""Each copy of a model that an engine holds several times (data parallelism), as a model."""

from __future__ import annotations

from dataclasses import replace

from services.engines.model import Parallel, Prompt, Reply, VisionLanguageModel


class OneCopy:
    """A model, answered by one of its copies alone."""

    def __init__(self, model: VisionLanguageModel, rank: int) -> None:
        self._model = model
        self._rank = rank

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        return await self._model.generate(replace(prompt, rank=self._rank))

    async def death(self) -> str:
        return await self._model.death()

    async def close(self) -> None:
        await self._model.close()


def each_copy(model: VisionLanguageModel) -> list[VisionLanguageModel]:
    """A model once for each of its copies: right answers of one prove nothing about another."""
    count = model.copies if isinstance(model, Parallel) else 1
    return [OneCopy(model, rank) for rank in range(count)] if count > 1 else [model]
