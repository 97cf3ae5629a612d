"""The processes of one vLLM engine: whether they make progress, and their end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import psutil


def tokens_written(engine: Any) -> int:
    """Tokens written by an AsyncLLM for the requests under way."""
    states = engine.output_processor.request_states.values()
    return sum(
        state.detokenizer.num_output_tokens() for state in states if state.detokenizer is not None
    )


async def end(engine: Any, within_s: float) -> None:
    """Shuts an AsyncLLM down; kills the processes of it that are left after `within_s`, stopped and hung ones included."""
    processes = _processes(engine)
    # Half of the time for vLLM's own way, which tells them to end and kills them then. It may hang itself.
    ending = threading.Thread(
        target=engine.shutdown, kwargs={"timeout": within_s / 2}, name="end of vllm", daemon=True
    )
    ending.start()
    await asyncio.to_thread(ending.join, within_s)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _processes(engine: Any) -> list[psutil.Process]:
    """The engine's core, and the workers that this has started."""
    manager = engine.engine_core.resources.engine_manager
    found: list[psutil.Process] = []
    for core in getattr(manager, "processes", ()):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(core.pid)
            found += [process, *process.children(recursive=True)]
    return found
