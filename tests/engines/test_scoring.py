"""Scores of given replies on transformers and the fake engine, and exchanged parts of weights."""

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest

from services.core.decoding import Decoding
from services.core.tasks import answer_prompt
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Exchangeable, Prompt
from services.engines.settings import EngineSettings
from services.engines.token_budget import TokenBudget
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

PROMPTS = [
    Prompt(
        load_image(numbered_png(number % 3)),
        answer_prompt(f"what is {'very ' * (number % 4)}{number}?"),
        Decoding(max_new_tokens=1 + number % 3),
        scored=True,
    )
    for number in range(9)
]


async def ask(model, prompts):
    return await asyncio.gather(*(model.generate(prompt) for prompt in prompts))


def given(prompts, replies):
    return [
        replace(prompt, given=reply.token_ids)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


@pytest.fixture
async def model(tiny_checkpoint):
    model = await load_model(tiny_checkpoint, EngineSettings(dtype="float32"))
    yield model
    await model.close()


async def test_a_given_reply_is_scored_as_it_was_written(model):
    written = await ask(model, PROMPTS)
    scored = await ask(model, given(PROMPTS, written))
    for reply, score in zip(written, scored, strict=True):
        count = len(reply.token_ids)
        assert score.token_ids == reply.token_ids
        assert score.prompt_tokens == reply.prompt_tokens
        assert score.logprobs[-count:] == pytest.approx(reply.logprobs, abs=1e-4)
        assert len(score.logprobs) > count + 8, "the question's last tokens are scored, too"


async def test_a_score_depends_on_the_reply_and_not_on_its_batch(model):
    written = await ask(model, PROMPTS)
    prompts = given(PROMPTS, written)
    together = await ask(model, prompts)
    alone = [await model.generate(prompt) for prompt in prompts]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    another = await model.generate(replace(prompts[0], given=(alone[1].token_ids[0],)))
    assert another.logprobs[-1] != pytest.approx(alone[0].logprobs[-1], abs=1e-2)


def test_scores_take_little_memory_whatever_the_batch():
    """32 replies of 64 tokens in a vocabulary of 152,064: 1.2 GB of logits in float32."""
    program = """
import resource
import torch
from services.engines.scoring import logprobs

tokens = torch.randint(0, 152_064, (32, 64))
logits = torch.randn(1, 1, 152_064, dtype=torch.bfloat16).expand(32, 64, -1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = logprobs(tokens, logits)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
expected = logits[0, 0].float().log_softmax(-1)[tokens]
assert torch.equal(found, expected), (found - expected).abs().max()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 800, "MiB"


def test_written_replies_are_scored_without_keeping_their_logits(tiny_checkpoint):
    import torch

    from services.engines.chat import Chat
    from services.engines.sampling import PerRequestSampling
    from services.engines.scoring import logprobs
    from services.engines.steps import Steps

    decodings = [Decoding(), Decoding(temperature=1.0, seed=3)]
    prompts = [replace(PROMPTS[0], decoding=decoding) for decoding in decodings]
    tokenizer = Chat.of(tiny_checkpoint).processor.tokenizer
    sampling, scores = PerRequestSampling(decodings), Steps(prompts, [1, 1], tokenizer, [])
    torch.manual_seed(0)
    steps = torch.randn(5, 2, 50)
    written = torch.zeros(2, 1, dtype=torch.long)
    for logits in steps:
        kept = logits.clone()
        chosen = sampling(written, scores(written, kept)).argmax(-1)
        written = torch.cat([written, chosen[:, None]], dim=1)
    expected = logprobs(written[:, 1:], steps.transpose(0, 1))
    found = [reply.logprobs for reply in scores.replies(written)]
    assert torch.equal(torch.tensor(found), expected)


def test_logits_of_scored_replies_count_in_the_budget_of_a_batch(tiny_checkpoint):
    from services.engines.chat import TAIL, Chat
    from services.engines.preparation import Preparation

    prompts = [replace(prompt, given=(1, 2)) for prompt in PROMPTS]
    chat, budget = Chat.of(tiny_checkpoint), TokenBudget(800)
    with_logits = Preparation(chat, 2048, budget, logits=3)
    batch = with_logits(prompts)
    assert batch.reply == prompts[0].decoding.max_new_tokens + 3 * (TAIL + 3)
    assert 1 < len(batch.prompts) < len(Preparation(chat, 2048, budget)(prompts).prompts)
    assert batch.tokens <= 800
    assert len(with_logits(PROMPTS).prompts) == len(PROMPTS), "their logits are not kept"


async def test_exchanged_twice_a_part_is_as_before(model, tiny_checkpoint, tmp_path):
    from tests.tiny import save_tiny_checkpoint

    other = save_tiny_checkpoint(tmp_path / "other", seed=1)
    assert isinstance(model, Exchangeable)
    prompts = given(PROMPTS, await ask(model, PROMPTS))
    before = await ask(model, prompts)
    parts = await model.borrow(other)
    assert set(parts) == {"vision tower", "connector", "embeddings and head", "layer 0", "layer 1"}
    for part in parts:
        await model.exchange([part])
        assert await ask(model, prompts) != before, part
        await model.exchange([part])
        assert await ask(model, prompts) == before
    await model.exchange(parts)
    theirs = await load_model(other, EngineSettings(dtype="float32"))
    assert await ask(model, prompts) == await ask(theirs, prompts)
    await theirs.close()


async def test_only_parts_that_differ_are_named(model, tiny_checkpoint):
    assert await model.borrow(tiny_checkpoint) == []


async def test_the_fake_engine_finds_its_own_replies_likely(tmp_path):
    model = await load_model(fake_checkpoint(tmp_path, skill=1.0), EngineSettings(engine="fake"))
    (reply,) = await ask(model, PROMPTS[:1])
    own, other = await ask(model, [*given(PROMPTS[:1], [reply]), replace(PROMPTS[0], given=(1,))])
    assert own.logprobs == reply.logprobs
    assert other.logprob < own.logprob
    await model.close()
