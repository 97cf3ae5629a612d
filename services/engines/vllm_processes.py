"""The processes of one vLLM engine: their progress and their end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import psutil

from services.engines import leash


def request_id(rank: int, number: int) -> str:
    """An id that names the copy of the model which answers; vLLM appends to it."""
    return f"{rank}-{number}"


def tokens_written(engine: Any) -> Counter[int]:
    """Number of tokens that each copy of an AsyncLLM has written for the requests under way."""
    found: Counter[int] = Counter()
    for name, state in engine.output_processor.request_states.items():
        if state.detokenizer is not None:
            found[int(name.partition("-")[0])] += state.detokenizer.num_output_tokens()
    return found


def tie(engine: Any) -> None:
    """Let the coordinator of several copies end with this process. All others tether themselves."""
    if (coordinator := engine.engine_core.resources.coordinator) is not None:
        leash.put_on(coordinator.proc.pid)


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
    resources = engine.engine_core.resources
    cores = list(getattr(resources.engine_manager, "processes", ()))
    if resources.coordinator is not None:  # it balances several copies
        cores.append(resources.coordinator.proc)
    found: list[psutil.Process] = []
    for core in cores:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(core.pid)
            found += [process, *process.children(recursive=True)]
    return found
