"""An engine that hangs, or whose threads end, is dead; one that is slow is not."""

import asyncio
import ctypes
import subprocess
import sys
import threading

import pytest

from services.core.errors import EngineFailed, Overloaded, Unavailable
from services.engines.batching import MicroBatcher
from services.engines.watchdog import CANARY
from tests.engines.batches import Script, answers, ask_all, asking, raising
from tests.waiting import until

WATCHDOG_S = 0.2


@pytest.fixture
def hung():
    """Blocks a thread until the test is over."""
    let_go = threading.Event()
    yield let_go.wait
    let_go.set()


def _batcher(script, **settings):
    settings = {
        "max_batch": 4,
        "max_waiting": 9,
        "prepare": script.prepare,
        "watchdog_s": WATCHDOG_S,
        **settings,
    }
    return MicroBatcher(script.run, **settings)


@pytest.mark.parametrize("stage", ["prepare", "run"])
async def test_an_engine_that_hangs_is_dead_and_lets_everybody_go(stage, hung):
    batcher = _batcher(Script(**{stage: {"hang": hung}}))
    asked = [asyncio.create_task(batcher.submit(asking(text))) for text in ("hang", *"abcde")]
    async with asyncio.timeout(30):
        assert "hangs" in await batcher.death()
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
            assert "ask again" in str(outcome)
        with pytest.raises(Unavailable, match="hangs"):
            await batcher.submit(asking())
        with pytest.raises(Unavailable, match="hangs"):
            await batcher.between_batches(lambda: None)
        await batcher.close()
        await batcher.close()


async def test_an_engine_that_hangs_is_closed_all_the_same(hung):
    """This holds even if no watchdog has noticed."""
    batcher = _batcher(Script(run={"hang": hung}), watchdog_s=0, close_s=0.1)
    asked = asyncio.create_task(batcher.submit(asking("hang")))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await batcher.close()
        with pytest.raises(Unavailable):
            await asked


async def test_a_slow_engine_that_makes_progress_is_not_dead():
    steps = 0

    def run(prompts, adapter):
        nonlocal steps
        if prompts[0].text == "slow":
            while steps < 40:  # eight times the watchdog's patience
                threading.Event().wait(WATCHDOG_S / 5)
                batcher.beat()
                steps += 1
        return answers(prompts)

    batcher = MicroBatcher(run, max_batch=4, max_waiting=9, watchdog_s=WATCHDOG_S)
    dying = asyncio.create_task(batcher.death())
    assert await ask_all(batcher, ["slow", "a"]) == ["SLOW", "A"]
    assert not dying.done()
    await batcher.close()


def _canaries(script):
    return [batch for batch in script.computed if batch == [CANARY.text]]


async def test_what_was_given_up_or_failed_leaves_a_canary_to_tell_whether_the_engine_can_answer():
    script = Script(run={"bad": raising(RuntimeError("boom"))})
    batcher = _batcher(script)
    with pytest.raises(EngineFailed, match="boom"):
        await batcher.submit(asking("bad"))
    await until(lambda: _canaries(script))
    assert await ask_all(batcher, ["a"]) == ["A"]
    await batcher.close()


async def test_the_canary_needs_no_room_in_the_queue(hung):
    batcher = _batcher(Script(run={"hang": hung}), max_waiting=1)
    asked = asyncio.create_task(batcher.submit(asking("hang")))
    await until(lambda: asked.done() or not batcher._waiting)
    waiting = asyncio.create_task(batcher.submit(asking()))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(asking())
    async with asyncio.timeout(30):
        assert "hangs" in await batcher.death()
    await asyncio.gather(asked, waiting, return_exceptions=True)
    await batcher.close()


async def test_an_engine_that_fails_on_a_canary_too_is_dead():
    failing = raising(RuntimeError("device-side assert"))
    batcher = _batcher(Script(run={"bad": failing, CANARY.text: failing}))
    assert isinstance((await ask_all(batcher, ["bad"]))[0], EngineFailed)
    async with asyncio.timeout(30):
        assert "device-side assert" in await batcher.death()
    await batcher.close()


async def test_an_engine_that_has_answered_everybody_is_left_alone():
    script = Script()
    batcher = _batcher(script, watchdog_s=0.05)
    await ask_all(batcher, "abc")
    asked = len(_canaries(script))
    await asyncio.sleep(0.5)
    assert len(_canaries(script)) == asked
    await batcher.close()


def _end(thread):
    """Ends a thread as the interpreter does: raises SystemExit in it, outside of any job."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["prepare", "engine"])
async def test_a_thread_that_ends_is_the_engines_death(name):
    before = set(threading.enumerate())
    batcher = _batcher(Script(), watchdog_s=0)
    assert await ask_all(batcher, ["a"]) == ["A"]
    (thread,) = (thread for thread in set(threading.enumerate()) - before if thread.name == name)
    _end(thread)
    asked = asyncio.create_task(batcher.submit(asking()))
    async with asyncio.timeout(30):
        assert repr(name) in await batcher.death()
        with pytest.raises(Unavailable, match=name):
            await asked
    await batcher.close()


async def test_the_end_of_the_batching_task_is_the_engines_death():
    batcher = _batcher(Script(), watchdog_s=0)
    batcher._worker.cancel()
    async with asyncio.timeout(30):
        await batcher.death()
        with pytest.raises(Unavailable, match="batching"):
            await batcher.submit(asking())
    await batcher.close()


PROGRAM = """
import asyncio, threading
from services.engines.batching import MicroBatcher
from tests.engines.batches import asking

async def main():
    running = asyncio.Event()
    loop = asyncio.get_running_loop()

    def run(prompts, adapter):
        loop.call_soon_threadsafe(running.set)
        threading.Event().wait()

    batcher = MicroBatcher(run, max_batch=1, max_waiting=1)
    asked = asyncio.create_task(batcher.submit(asking()))
    await running.wait()
    print("hanging", flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_thread_that_hangs_does_not_keep_the_process():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "hanging\n"), done.stderr
