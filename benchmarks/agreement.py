"""Percentage of questions that vLLM and transformers answer alike with the same version.

    python -m benchmarks.agreement --model bundled

Both engines run in float32 here. On GPUs in bfloat16 expect a few borderline answers to differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.questions import Asked, ask, decoding
from benchmarks.row import PERCENT, Question, Row
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.settings import EngineSettings

IMAGES = 150
AT_ONCE = 256


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    asked = ask(0, given.share(IMAGES))
    folder = checkpoint(model)
    of_vllm = await answers(folder, model, asked, EngineSettings(engine="vllm", max_model_len=512))
    of_transformers = await answers(folder, model, asked, EngineSettings())
    alike = sum(ours == theirs for ours, theirs in zip(of_vllm, of_transformers, strict=True))
    question = Question(
        name=f"agreement-{model}",
        what="answers of vLLM",
        other="those of transformers, same version",
        model=model,
        engine="vllm",
        unit="% alike",
        at_least=99.0,
    )
    yield question.counted(alike * PERCENT / len(asked), runs=1, questions=len(asked), alike=alike)


async def answers(
    folder: Path, model: str, asked: Sequence[Asked], settings: EngineSettings
) -> list[str]:
    engine = await load_model(folder, settings)
    found: list[str] = []
    for first in range(0, len(asked), AT_ONCE):
        prompts = [
            Prompt(load_image(each.data), each.prompt, decoding(model))
            for each in asked[first : first + AT_ONCE]
        ]
        found += [
            reply.text
            for reply in await asyncio.gather(*(engine.generate(prompt) for prompt in prompts))
        ]
    await engine.close()
    return found


if __name__ == "__main__":
    arguments.run([measure], __doc__)
