import asyncio
import threading

import pytest

from services.core.decoding import Decoding
from services.core.errors import InvalidInput, MpaError, Overloaded, Unavailable
from services.engines.batching import MicroBatcher
from services.engines.images import load_image
from services.engines.model import Prompt, Reply
from tests.pictures import png

IMAGE = load_image(png())


def _prompt(text="x", tokens=8):
    return Prompt(IMAGE, text, Decoding(max_new_tokens=tokens))


class Recorder:
    """A batch function that notes its batches and waits to be let go."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, prompts, adapter):
        self.batches.append([prompt.text for prompt in prompts])
        assert self.go.wait(5)
        return [
            InvalidInput("no") if prompt.text == "bad" else Reply(prompt.text.upper(), 1, 1, "stop")
            for prompt in prompts
        ]


async def test_concurrent_requests_share_batches_and_get_their_own_replies():
    run = Recorder()
    batcher = MicroBatcher(run, max_batch=16, max_waiting=100)
    replies = await asyncio.gather(*(batcher.submit(_prompt(f"p{n}")) for n in range(40)))
    assert [reply.text for reply in replies] == [f"P{n}" for n in range(40)]
    assert len(run.batches) <= 4
    assert max(map(len, run.batches)) == 16
    await batcher.close()


async def test_one_bad_prompt_fails_alone():
    batcher = MicroBatcher(Recorder(), max_batch=16, max_waiting=100)
    good, bad = await asyncio.gather(
        batcher.submit(_prompt("a")), batcher.submit(_prompt("bad")), return_exceptions=True
    )
    assert good.text == "A"
    assert isinstance(bad, InvalidInput)
    await batcher.close()


async def test_different_lengths_do_not_wait_for_each_other():
    run = Recorder()
    batcher = MicroBatcher(run, max_batch=16, max_waiting=100)
    await asyncio.gather(
        *(batcher.submit(_prompt(f"{n % 2}", tokens=8 + n % 2)) for n in range(10))
    )
    assert all(len(set(batch)) == 1 for batch in run.batches)
    await batcher.close()


async def test_a_full_queue_says_come_back():
    run = Recorder()
    run.go.clear()
    batcher = MicroBatcher(run, max_batch=1, max_waiting=2)
    waiting = [asyncio.create_task(batcher.submit(_prompt(f"{n}"))) for n in range(3)]
    await asyncio.sleep(0.05)
    extra = [asyncio.create_task(batcher.submit(_prompt("extra"))) for _ in range(2)]
    results = (
        await asyncio.gather(*extra, return_exceptions=True)
        if all(task.done() for task in extra)
        else None
    )
    await asyncio.sleep(0.05)
    run.go.set()
    outcomes = results or await asyncio.gather(*extra, return_exceptions=True)
    assert any(isinstance(outcome, Overloaded) for outcome in outcomes)
    await asyncio.gather(*waiting, return_exceptions=True)
    await batcher.close()


async def test_an_engine_that_raises_fails_its_batch_and_goes_on():
    calls = []

    def run(prompts, adapter):
        calls.append(len(prompts))
        if len(calls) == 1:
            raise RuntimeError("boom")
        return [Reply("ok", 1, 1, "stop") for _ in prompts]

    batcher = MicroBatcher(run, max_batch=4, max_waiting=10)
    with pytest.raises(MpaError, match="boom"):
        await batcher.submit(_prompt())
    assert (await batcher.submit(_prompt())).text == "ok"
    await batcher.close()


async def test_close_answers_what_waits_and_takes_no_more():
    batcher = MicroBatcher(Recorder(), max_batch=2, max_waiting=10)
    waiting = [asyncio.create_task(batcher.submit(_prompt(f"{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    await batcher.close()
    assert [(await task).text for task in waiting] == ["0", "1", "2", "3", "4"]
    with pytest.raises(Unavailable):
        await batcher.submit(_prompt())


async def test_a_full_batch_is_prepared_while_another_is_computed():
    run, prepared = Recorder(), []

    def prepare(prompts):
        prepared.append(len(prompts))
        return prompts

    batcher = MicroBatcher(run, max_batch=4, max_waiting=100, prepare=prepare)
    run.go.clear()
    first = asyncio.create_task(batcher.submit(_prompt("first")))
    await asyncio.sleep(0.05)
    three = [asyncio.create_task(batcher.submit(_prompt(f"p{n}"))) for n in range(3)]
    await asyncio.sleep(0.05)
    assert prepared == [1]  # it may still grow
    fourth = asyncio.create_task(batcher.submit(_prompt("p3")))
    await asyncio.sleep(0.05)
    assert prepared == [1, 4]
    assert run.batches == [["first"]]
    run.go.set()
    assert [reply.text for reply in await asyncio.gather(first, *three, fourth)] == [
        "FIRST",
        "P0",
        "P1",
        "P2",
        "P3",
    ]
    await batcher.close()


async def test_what_can_not_be_prepared_fails_alone():
    def prepare(prompts):
        if any(prompt.text == "bad" for prompt in prompts):
            raise ValueError("not to be prepared")
        return prompts

    batcher = MicroBatcher(Recorder(), max_batch=1, max_waiting=100, prepare=prepare)
    bad, good = await asyncio.gather(
        batcher.submit(_prompt("bad")), batcher.submit(_prompt("a")), return_exceptions=True
    )
    assert isinstance(bad, MpaError)
    assert good.text == "A"
    await batcher.close()
