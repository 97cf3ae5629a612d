"""The processes of one vLLM engine: their progress and their end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import psutil


def tokens_written(engine: Any) -> int:
    """Number of tokens that an AsyncLLM has written for the requests under way."""
    states = engine.output_processor.request_states.values()
    return sum(
        state.detokenizer.num_output_tokens() for state in states if state.detokenizer is not None
    )


async def end(engine: Any, within_s: float) -> None:
    """Shuts an AsyncLLM down; kills its processes left after `within_s`, stopped or hung."""
    processes = _processes(engine)
    # vLLM's own shutdown ends them, then kills them. It has half of the time, since it may hang.
    ending = threading.Thread(
        target=engine.shutdown, kwargs={"timeout": within_s / 2}, name="end of vllm", daemon=True
    )
    ending.start()
    await asyncio.to_thread(ending.join, within_s)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _processes(engine: Any) -> list[psutil.Process]:
    """The engine's core and the workers that it has started."""
    manager = engine.engine_core.resources.engine_manager
    found: list[psutil.Process] = []
    for core in getattr(manager, "processes", ()):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(core.pid)
            found += [process, *process.children(recursive=True)]
    return found
