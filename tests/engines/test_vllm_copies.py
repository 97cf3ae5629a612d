"""Two copies of the bundled student in one vLLM engine: each answers, reloads, and ends with it."""

import asyncio
import shutil

import psutil
import pytest

from services.engines.choice import ZOO
from services.engines.copies import each_copy
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt, Reloadable
from services.engines.settings import EngineSettings
from tests.pictures import numbered_png
from tests.waiting import until

pytestmark = pytest.mark.slow
SETTINGS = EngineSettings(
    engine="vllm", max_model_len=256, threads=1, data_parallel=2, kv_cache_gib=0.25
)
PROMPTS = [
    Prompt(load_image(numbered_png(number)), "what shape is in the image?", scored=True)
    for number in range(4)
]


async def answers_of_each(engine):
    replies = [
        await asyncio.gather(*(copy.generate(prompt) for prompt in PROMPTS))
        for copy in each_copy(engine)
    ]
    return [[(reply.text, round(reply.logprob, 4)) for reply in of_one] for of_one in replies]


def _halved(folder):
    """The bundled student with a smaller last layer: its probabilities are others."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(ZOO / "student", folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("model.norm.weight"))
    tensors[name] = tensors[name] * 0.5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


async def test_two_copies_answer_reload_and_end_together(tmp_path):
    engine = await load_model(ZOO / "student", SETTINGS)
    children = psutil.Process().children(recursive=True)
    try:
        first, second = await answers_of_each(engine)
        assert first == second
        assert [reply.text for reply in await asyncio.gather(*map(engine.generate, PROMPTS))] == [
            text for text, _ in first
        ]
        assert isinstance(engine, Reloadable)
        await engine.reload(_halved(tmp_path / "halved"))
        other, another = await answers_of_each(engine)
        assert other == another
        assert all(after != before for (_, after), (_, before) in zip(other, first, strict=True))
        core = next(child for child in children if "EngineCore" in child.name())
        core.kill()
        assert "died" in await engine.death()
    finally:
        await engine.close()
    await until(lambda: not any(_is_alive(child) for child in children))


def _is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(
            process.cmdline()
        )
    except psutil.NoSuchProcess:
        return False
