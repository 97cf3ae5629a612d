import asyncio

import pytest

from services.core.errors import InvalidInput, MpaError, Overloaded, Unavailable
from services.engines.batching import MicroBatcher
from tests.engines.batches import Script, answers, ask_all, asking, held_up, raising
from tests.waiting import until


async def _submitted(batcher, *texts):
    asked = [asyncio.create_task(batcher.submit(asking(text))) for text in texts]
    await asyncio.sleep(0)
    return asked


async def test_concurrent_requests_share_batches_and_get_their_own_replies():
    script = Script()
    batcher = MicroBatcher(script.run, max_batch=16, max_waiting=100)
    replies = await ask_all(batcher, [f"p{number}" for number in range(40)])
    assert replies == [f"P{number}" for number in range(40)]
    assert len(script.computed) <= 4
    assert max(map(len, script.computed)) == 16
    await batcher.close()


async def test_one_bad_prompt_fails_alone():
    def run(prompts, adapter):
        replies = answers(prompts)
        return [InvalidInput("no") if reply.text == "BAD" else reply for reply in replies]

    batcher = MicroBatcher(run, max_batch=16, max_waiting=100)
    good, bad = await ask_all(batcher, ["a", "bad"])
    assert good == "A"
    assert isinstance(bad, InvalidInput)
    await batcher.close()


async def test_different_lengths_do_not_wait_for_each_other():
    script = Script()
    batcher = MicroBatcher(script.run, max_batch=16, max_waiting=100)
    prompts = [asking(f"{number % 2}", tokens=8 + number % 2) for number in range(10)]
    await asyncio.gather(*map(batcher.submit, prompts))
    assert all(len(set(batch)) == 1 for batch in script.computed)
    await batcher.close()


async def test_a_full_queue_says_come_back():
    script = Script()
    batcher = MicroBatcher(script.run, max_batch=1, max_waiting=2)
    first = await held_up(batcher, script)
    waiting = await _submitted(batcher, "a", "b")
    with pytest.raises(Overloaded):
        await batcher.submit(asking("extra"))
    script.go.set()
    replies = await asyncio.gather(first, *waiting)
    assert [reply.text for reply in replies] == ["FIRST", "A", "B"]
    await batcher.close()


async def test_an_engine_that_raises_fails_its_batch_and_goes_on():
    script = Script(run={"bad": raising(RuntimeError("boom"))})
    batcher = MicroBatcher(script.run, max_batch=4, max_waiting=10)
    with pytest.raises(MpaError, match="boom"):
        await batcher.submit(asking("bad"))
    assert await ask_all(batcher, ["ok"]) == ["OK"]
    await batcher.close()


async def test_close_answers_what_waits_and_takes_no_more():
    batcher = MicroBatcher(Script().run, max_batch=2, max_waiting=10)
    waiting = await _submitted(batcher, *"abcde")
    await batcher.close()
    assert [(await task).text for task in waiting] == [*"ABCDE"]
    with pytest.raises(Unavailable):
        await batcher.submit(asking())


async def test_a_full_batch_is_prepared_while_another_is_computed():
    script = Script()
    batcher = MicroBatcher(script.run, max_batch=4, max_waiting=100, prepare=script.prepare)
    first = await held_up(batcher, script)
    three = await _submitted(batcher, "a", "b", "c")  # not prepared: the batch may still grow
    assert script.prepared == [["first"]]
    fourth = await _submitted(batcher, "d")
    await until(lambda: script.prepared == [["first"], [*"abcd"]])
    assert script.computed == [["first"]]
    script.go.set()
    replies = await asyncio.gather(first, *three, *fourth)
    assert [reply.text for reply in replies] == ["FIRST", *"ABCD"]
    await batcher.close()


async def test_what_can_not_be_prepared_fails_alone():
    script = Script(prepare={"bad": raising(ValueError("not to be prepared"))})
    batcher = MicroBatcher(script.run, max_batch=1, max_waiting=100, prepare=script.prepare)
    bad, good = await ask_all(batcher, ["bad", "a"])
    assert isinstance(bad, MpaError)
    assert good == "A"
    await batcher.close()
