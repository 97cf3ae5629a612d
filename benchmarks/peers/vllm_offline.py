"""`vllm.LLM.generate` with all prompts at once, without a service.

Arguments: CHECKPOINT, MODEL. Requests hold `images`, to ask easy-VQA's
questions about that many images, or `calls`, those of a run (benchmarks/calls.py).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.calls import Call
from benchmarks.processes import Handle, answer_requests, student_settings
from benchmarks.questions import ask, decoding
from services.core.decoding import Decoding
from services.engines.chat import Chat
from services.engines.gpus import visible_gpus
from services.engines.images import load_image
from services.engines.model import Prompt


def load(folder: Path, model: str) -> Handle:
    from vllm import LLM

    from services.engines.vllm_arguments import engine_arguments, sampling

    settings = replace(
        student_settings(), engine="vllm", threads=int(os.environ["OMP_NUM_THREADS"])
    )
    arguments = engine_arguments(folder, settings, on_cpu=not visible_gpus())
    engine, chat = LLM(**arguments), Chat.of(folder)
    end_of_turn = chat.end_of_turn()[-1]

    def prompts_of(request: dict[str, Any]) -> list[tuple[bytes, str, Decoding]]:
        """Encoded image, user turn and decoding of each."""
        if "calls" in request:
            calls = [Call.read(raw) for raw in request["calls"]]
            return [(Path(call.image).read_bytes(), call.text, call.decoding) for call in calls]
        asked = ask(request["first_image"], request["images"], request["per_image"], model)
        return [(one.data, one.prompt, decoding(model)) for one in asked]

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = prompts_of(request)
        began = time.perf_counter()
        images = {data: load_image(data) for data, _, _ in asked}
        prompts = [Prompt(images[data], text, how) for data, text, how in asked]
        inputs = [
            {
                "prompt": chat.render(prompt.text),
                "multi_modal_data": {"image": [prompt.image.pixels]},
                "multi_modal_uuids": {"image": [prompt.image.sha256]},
            }
            for prompt in prompts
        ]
        outputs = engine.generate(
            inputs, [sampling(prompt, end_of_turn) for prompt in prompts], use_tqdm=False
        )
        return {
            "seconds": time.perf_counter() - began,
            "answers": [output.outputs[0].text.strip() for output in outputs],
        }

    return answer


if __name__ == "__main__":
    answer_requests(lambda: load(Path(sys.argv[1]), sys.argv[2]))
