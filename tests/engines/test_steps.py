"""Replies as they are written, and the likeliest tokens of each step, on three engines."""

import asyncio
from dataclasses import replace

import pytest

from services.core.decoding import Decoding
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

IMAGE = load_image(numbered_png(3))
LENGTH = 12


@pytest.fixture
async def model(tiny_checkpoint):
    model = await load_model(tiny_checkpoint, EngineSettings(device="cpu"))
    yield model
    await model.close()


def heard_prompt(question, heard, **given):
    decoding = Decoding(max_new_tokens=LENGTH, **given)
    return Prompt(IMAGE, question, decoding, heard=heard.append)


async def test_a_reply_is_heard_token_by_token_and_ends_as_it_was_heard(model):
    prompts = [heard_prompt(f"what is {number}?", []) for number in range(4)]
    heard = [[] for _ in prompts]
    told = [replace(one, heard=into.append) for one, into in zip(prompts, heard, strict=True)]
    silent = [replace(one, heard=None) for one in prompts]
    replies = await asyncio.gather(*(model.generate(prompt) for prompt in told))
    without = await asyncio.gather(*(model.generate(prompt) for prompt in silent))
    for reply, other, parts in zip(replies, without, heard, strict=True):
        assert reply == other, "to be heard changes no reply"
        assert len(parts) >= reply.completion_tokens - 2
        assert all(reply.text.startswith(part.text.rstrip()) for part in parts)
        assert [part.completion_tokens for part in parts] == list(range(1, len(parts) + 1))
        assert {part.prompt_tokens for part in parts} == {reply.prompt_tokens}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_the_likeliest_tokens_of_each_step(model, temperature):
    decoding = Decoding(max_new_tokens=5, temperature=temperature, seed=7)
    prompts = [
        Prompt(IMAGE, "what?", decoding, scored=True, alternatives=3),
        Prompt(IMAGE, "what?", decoding, scored=True, alternatives=0),
        Prompt(IMAGE, "what?", decoding),
    ]
    scored, bare, plain = await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    assert scored.text == bare.text == plain.text
    assert scored.logprobs == bare.logprobs
    assert len(scored.alternatives) == len(scored.token_texts) == scored.completion_tokens
    assert (bare.alternatives, plain.token_texts) == ((), ())
    for step, token, logprob in zip(
        scored.alternatives, scored.token_texts, scored.logprobs, strict=True
    ):
        values = [each.logprob for each in step]
        assert len(step) == 3
        assert values == sorted(values, reverse=True)
        assert logprob <= values[0], "the noise of sampling is in no score"
        if temperature == 0:
            assert (token, logprob) == (step[0].text, values[0])


async def test_the_fake_engine_is_heard_word_by_word(tmp_path):
    folder = fake_checkpoint(tmp_path / "model", skill=1.0, word_s=0.001)
    engine = await load_model(folder, EngineSettings(engine="fake"))
    heard = []
    reply = await engine.generate(
        replace(heard_prompt("Question: Q", heard), scored=True, alternatives=1)
    )
    await engine.close()
    assert "".join(reply.token_texts) == reply.text
    assert [len(part.text.split()) for part in heard] == list(range(1, len(heard) + 1))
    assert heard[-1].text == reply.text
    assert len(reply.alternatives) == reply.completion_tokens
