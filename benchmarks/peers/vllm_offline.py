"""`vllm.LLM.generate`: all prompts handed over at once, no service. Arguments: CHECKPOINT, MODEL ("bundled" or "150m")."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import Handle, answer_requests
from benchmarks.questions import ask, decoding
from services.engines.chat import Chat
from services.engines.images import load_image
from services.engines.settings import EngineSettings


def load(folder: Path, model: str) -> Handle:
    from vllm import LLM, SamplingParams

    from services.engines.vllm import engine_arguments

    settings = EngineSettings(engine="vllm", threads=int(os.environ["OMP_NUM_THREADS"]))
    engine, chat = LLM(**engine_arguments(folder, settings)), Chat.of(folder)
    sampling = SamplingParams(
        temperature=0.0, max_tokens=decoding(model).max_new_tokens, stop_token_ids=chat.end_of_turn()[-1:]
    )

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = ask(request["first_image"], request["images"], request["per_image"])
        began = time.perf_counter()
        images = {one.sha256: load_image(one.data) for one in asked}
        inputs = [
            {
                "prompt": chat.render(one.prompt),
                "multi_modal_data": {"image": [images[one.sha256].pixels]},
                "multi_modal_uuids": {"image": [one.sha256]},
            }
            for one in asked
        ]
        outputs = engine.generate(inputs, sampling, use_tqdm=False)
        return {
            "seconds": time.perf_counter() - began,
            "answers": [output.outputs[0].text.strip() for output in outputs],
        }

    return answer


if __name__ == "__main__":
    answer_requests(lambda: load(Path(sys.argv[1]), sys.argv[2]))
