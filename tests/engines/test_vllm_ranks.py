"""Copies of a model in one engine: an image stays on one, and a copy that hangs is found."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput
from services.engines.copies import each_copy
from services.engines.images import load_image
from services.engines.model import Prompt, Reply
from services.engines.settings import EngineSettings
from services.engines.vllm_ranks import Ranks
from services.environment import Environment
from tests.pictures import numbered_png
from tests.waiting import until

PROMPTS = [Prompt(load_image(numbered_png(number)), "what?") for number in range(32)]


class Asked:
    """Canaries that were asked, by copy; those of `hanging` copies are never answered."""

    def __init__(self, *hanging):
        self.hanging = hanging
        self.canaries = Counter()
        self.deaths = []

    async def ask(self, canary):
        self.canaries[canary.rank] += 1
        if canary.rank in self.hanging:
            await asyncio.Event().wait()


def ranks_of(asked, count=2, patience_s=0.0):
    return Ranks(count, patience_s, asked.ask, asked.deaths.append)


async def test_an_image_stays_on_one_copy_and_all_copies_have_some():
    ranks = ranks_of(Asked())
    chosen = [[ranks.enter(prompt).rank for _ in range(2)] for prompt in PROMPTS]
    assert all(first == second for first, second in chosen)
    assert {first for first, _ in chosen} == {0, 1}
    assert ranks.enter(replace(PROMPTS[0], rank=1)).rank == 1


async def test_a_copy_that_hangs_is_found_while_the_other_replies():
    asked = Asked(1)
    ranks = ranks_of(asked, patience_s=0.2)
    ranks.enter(replace(PROMPTS[0], rank=1))
    while not asked.deaths:
        fine = ranks.enter(replace(PROMPTS[1], rank=0))
        ranks.replied(fine)
        ranks.leave(fine)
        ranks.beat({0: 7})
        await asyncio.sleep(0.02)
    assert asked.deaths[0].startswith("copy 2 of 2: it hangs")
    assert not asked.canaries[0]
    ranks.end()


async def test_tokens_of_a_copy_are_its_progress():
    asked = Asked(0, 1)
    ranks = ranks_of(asked, patience_s=0.3)
    for rank in range(2):
        ranks.enter(replace(PROMPTS[0], rank=rank))
    written = 0

    async def write():
        nonlocal written
        while True:
            written += 1
            ranks.beat({0: written})
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    await until(lambda: asked.deaths)
    assert asked.deaths[0].startswith("copy 2 of 2")
    assert not asked.canaries[0]
    writing.cancel()
    ranks.end()


class TwoCopies:
    """A model whose second copy has other weights."""

    copies = 2
    fingerprint = "same"

    async def generate(self, prompt):
        return Reply("right" if prompt.rank == 0 else "wrong", 1, 1)

    async def death(self):
        await asyncio.Event().wait()

    async def close(self):
        pass


async def test_each_copy_is_asked():
    replies = [await copy.generate(PROMPTS[0]) for copy in each_copy(TwoCopies())]
    assert [reply.text for reply in replies] == ["right", "wrong"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ENGINE": "transformers", "DATA_PARALLEL": "2"}, "ENGINE=vllm"),
        ({"ENGINE": "fake", "DATA_PARALLEL": "2"}, "one service for each GPU"),
        ({"ENGINE": "vllm", "DATA_PARALLEL": "0"}, "give 1 or more"),
    ],
)
def test_copies_need_an_engine_that_can_hold_them(settings, said):
    variables = {f"MPA_STUDENT_{name}": value for name, value in settings.items()}
    with pytest.raises(InvalidInput, match=said):
        EngineSettings.from_environment(Environment("MPA_STUDENT_", variables))


def test_an_engine_takes_the_gpus_of_all_its_copies():
    assert EngineSettings(engine="vllm", tensor_parallel=2, data_parallel=3).gpus == 6
