"""One bad prompt harms nobody else, and nothing is computed for callers who have gone."""

import asyncio

import pytest

from services.core.errors import EngineFailed, InvalidInput
from services.engines.batching import MicroBatcher
from tests.engines.batches import Script, answers, ask_all, asking, held_up, raising
from tests.waiting import until

TROUBLES = [
    RuntimeError("boom"),
    StopIteration(),
    MemoryError(),
    SystemExit(),
    KeyboardInterrupt(),
    GeneratorExit(),
]
TROUBLES += [asyncio.CancelledError(), AssertionError()]
TEXTS = [f"p{number}" for number in range(16)]


def _batcher(script, **settings):
    return MicroBatcher(
        script.run, **{"max_batch": 32, "max_waiting": 100, "prepare": script.prepare, **settings}
    )


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize("stage", ["prepare", "run"])
async def test_an_error_of_any_kind_is_its_prompts_alone(stage, trouble):
    script = Script(**{stage: {"bad": raising(trouble)}})
    batcher = _batcher(script)
    async with asyncio.timeout(30):
        *others, failed = await ask_all(batcher, [*TEXTS, "bad"])
        assert others == [text.upper() for text in TEXTS]
        assert isinstance(failed, EngineFailed)
        assert failed.reason == "ENGINE_FAILED"
        assert type(trouble).__name__ in str(failed)
        assert await ask_all(batcher, ["next"]) == ["NEXT"]
        await batcher.close()


async def test_those_who_can_be_prepared_are_computed_as_one_batch():
    refused = InvalidInput("too long", field="question", reason="PROMPT_TOO_LONG")
    script = Script(prepare={"long": raising(refused), "bad": raising(ValueError("no"))})
    batcher = _batcher(script)
    outcomes = await ask_all(batcher, ["bad", *TEXTS, "long"])
    assert isinstance(outcomes[0], EngineFailed)
    assert isinstance(outcomes[-1], InvalidInput)
    assert (outcomes[-1].field, outcomes[-1].reason) == ("question", "PROMPT_TOO_LONG")
    assert script.computed == [TEXTS]
    await batcher.close()


async def test_two_culprits_are_found_by_halves():
    script = Script(run={"p3": raising(RuntimeError("one")), "p12": raising(RuntimeError("two"))})
    batcher = _batcher(script)
    outcomes = await ask_all(batcher, TEXTS)
    assert {
        number for number, outcome in enumerate(outcomes) if isinstance(outcome, EngineFailed)
    } == {3, 12}
    assert "one" in str(outcomes[3])
    assert "two" in str(outcomes[12])
    assert sorted(map(len, script.computed)) == [1, 1, 2, 2, 4, 4], (
        "never one by one where halves will do"
    )
    await batcher.close()


async def test_a_batch_that_is_too_large_for_the_memory_is_computed_in_parts():
    sizes = []

    def run(prompts, adapter):
        sizes.append(len(prompts))
        if len(prompts) > 4:
            raise MemoryError(f"no memory for {len(prompts)}")
        return answers(prompts)

    batcher = MicroBatcher(run, max_batch=32, max_waiting=100)
    assert await ask_all(batcher, TEXTS) == [text.upper() for text in TEXTS]
    assert sizes == [16, 8, 4, 4, 8, 4, 4]
    await batcher.close()


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_an_engine_that_gives_another_number_of_replies_mixes_nobody_up(count):
    batcher = MicroBatcher(
        lambda prompts, adapter: answers(prompts[:1]) * count, max_batch=4, max_waiting=9
    )
    outcomes = await ask_all(batcher, ["a", "b"])
    if count == 1:
        assert outcomes == ["A", "B"], "each alone"
    else:
        assert all(
            isinstance(outcome, EngineFailed) and f"{count} replies" in str(outcome)
            for outcome in outcomes
        )
    await batcher.close()


async def test_cancelled_requests_are_not_computed():
    script = Script()
    batcher = _batcher(script, max_batch=3, max_waiting=3)
    first = await held_up(batcher, script)
    given_up = [
        asyncio.create_task(batcher.submit(asking(f"gone {number}"))) for number in range(2)
    ]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    staying = [asyncio.create_task(batcher.submit(asking(f"here {number}"))) for number in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in staying), (
        "those who have gone take up no room in the queue"
    )
    script.go.set()
    await asyncio.gather(first, *staying)
    assert script.computed == [["first"], ["here 0", "here 1"]]
    assert script.prepared == script.computed
    await batcher.close()


async def test_requests_cancelled_once_they_are_prepared_are_not_computed_either():
    script = Script()
    batcher = _batcher(script, max_batch=2)
    first = await held_up(batcher, script)
    second = [asyncio.create_task(batcher.submit(asking(text))) for text in ("gone", "here")]
    await until(lambda: ["gone", "here"] in script.prepared)
    second[0].cancel()
    await asyncio.wait(second[:1])
    script.go.set()
    await asyncio.gather(first, second[1])
    assert script.computed == [["first"], ["here"]]
    await batcher.close()


async def test_a_computation_that_nobody_waits_for_ends_at_its_next_step():
    stepped, ended = [], []

    def run(prompts, adapter):
        if prompts[0].text != "long":
            return answers(prompts)
        try:
            while len(stepped) < 10_000_000:
                batcher.beat()
                stepped.append(1)
        finally:
            ended.append(len(stepped))
        return answers(prompts)

    batcher = MicroBatcher(run, max_batch=2, max_waiting=9)
    asked = [asyncio.create_task(batcher.submit(asking("long"))) for _ in range(2)]
    await until(lambda: stepped)
    asked[0].cancel()
    had = len(stepped)
    await until(lambda: len(stepped) > had)
    assert not ended, "one caller is left"
    asked[1].cancel()
    assert await ask_all(batcher, ["next"]) == ["NEXT"]
    assert ended[0] < 10_000_000
    await batcher.close()
