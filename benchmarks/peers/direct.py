"""Our engine called in process, without a service: one request at a time.

Arguments: CHECKPOINT, MODEL, ENGINE.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.processes import Handle, answer_requests, student_settings
from benchmarks.questions import ask, decoding
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt


def load(folder: Path, model: str, engine: str) -> Handle:
    settings = replace(
        student_settings(), engine=engine, threads=int(os.environ["OMP_NUM_THREADS"])
    )
    loop = asyncio.new_event_loop()
    loaded = loop.run_until_complete(load_model(folder, settings))

    async def each(request: dict[str, Any]) -> list[float]:
        seconds = []
        for one in ask(request["first_image"], request["images"], request["per_image"], model):
            began = time.perf_counter()
            await loaded.generate(Prompt(load_image(one.data), one.prompt, decoding(model)))
            seconds.append(time.perf_counter() - began)
        return seconds

    return lambda request: {"seconds": loop.run_until_complete(each(request))}


if __name__ == "__main__":
    answer_requests(lambda: load(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
