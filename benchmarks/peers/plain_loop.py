"""A loop over transformers' processor and `generate`, batch after batch.

Arguments: CHECKPOINT, MODEL.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from benchmarks.processes import Handle, answer_requests
from benchmarks.questions import Asked, ask, decoding
from services.engines.chat import Chat
from services.engines.images import load_image


class PlainLoop:
    """A model with its processor."""

    def __init__(self, folder: Path) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        self._model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype="float32"
        ).eval()
        self._chat = Chat(self._processor)

    @torch.inference_mode()
    def generate(self, prompts: list[str], images: list[Any], **settings: Any) -> list[str]:
        """One batch, padded on the left."""
        texts = [self._chat.render(prompt) for prompt in prompts]
        inputs = self._processor(
            text=texts,
            images=[[image] for image in images],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        output = self._model.generate(**inputs, **settings)
        written = output[:, inputs["input_ids"].shape[1] :]
        return [
            text.strip()
            for text in self._processor.tokenizer.batch_decode(written, skip_special_tokens=True)
        ]

    def answer(self, asked: list[Asked], batch_size: int, max_new_tokens: int) -> list[str]:
        """Answers in order. Each image is decoded once for all its questions."""
        images = {one.sha256: load_image(one.data).pixels for one in asked}
        answers = []
        for start in range(0, len(asked), batch_size):
            batch = asked[start : start + batch_size]
            prompts, pixels = [one.prompt for one in batch], [images[one.sha256] for one in batch]
            answers += self.generate(
                prompts, pixels, max_new_tokens=max_new_tokens, do_sample=False
            )
        return answers


def load(folder: Path, model: str) -> Handle:
    loop = PlainLoop(folder)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = ask(request["first_image"], request["images"], request["per_image"], model)
        began = time.perf_counter()
        answers = loop.answer(asked, request["batch_size"], decoding(model).max_new_tokens)
        return {"seconds": time.perf_counter() - began, "answers": answers}

    return answer


if __name__ == "__main__":
    answer_requests(lambda: load(Path(sys.argv[1]), sys.argv[2]))
