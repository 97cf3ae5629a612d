"""A scripted model that needs no weights: for tests and for trying the platform.

A fake checkpoint is a folder with `fake.json`: {"skill": 0.6, "unparsed": 0.02, "latency_s": 0.0}. Every (image, question)
has a true answer drawn from their hash. A model of skill s answers rightly where the sample's own draw lies below s, so a
more skilled model knows all that a less skilled one does. Asked to annotate, it writes a question (by the request's seed)
and the true answer; the share `unparsed` of its replies is no annotation. Everything is a function of the request.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.annotation import question_key
from services.core.errors import InvalidInput
from services.core.tasks import ANSWER_INSTRUCTION
from services.engines.batching import MicroBatcher, Outcome
from services.engines.checkpoint import fingerprint
from services.engines.model import Prompt, Reply

_ANSWERS = ("red", "green", "blue", "teal", "gray", "brown", "yellow", "black")
_QUESTIONS = ("what color is object {n}?", "what is the color of thing {n}?", "what shade has part {n}?")
_MISTAKE = "unknown"


@dataclass(frozen=True, slots=True)
class FakeModel:
    """The content of fake.json."""

    skill: float = 0.6
    unparsed: float = 0.0
    latency_s: float = 0.0

    @staticmethod
    def read(folder: Path) -> FakeModel:
        try:
            return FakeModel(**json.loads((folder / "fake.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"{folder} holds no readable fake.json: {error}", field="model") from error

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake.json").write_text(json.dumps(asdict(self)))


def _draw(*parts: object) -> float:
    """A number in [0, 1) that is a function of `parts`."""
    return int(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12], 16) / 16**12


def true_answer(image_sha256: str, question: str) -> str:
    return _ANSWERS[int(_draw("truth", image_sha256, question_key(question)) * len(_ANSWERS))]


def reply_text(model: FakeModel, prompt: Prompt) -> str:
    """What `model` replies; the prompt tells whether an annotation or an answer is wanted."""
    image = prompt.image.sha256
    if "Question:" in prompt.text:  # every annotation prompt says what form the reply has
        seed = prompt.decoding.seed
        if _draw("unparsed", image, seed) < model.unparsed:
            return "I see an image."
        pick = _draw("question", image, seed)
        question = _QUESTIONS[int(pick * len(_QUESTIONS))].format(n=int(pick * 1e6) % 40)
        right = _draw("annotation", image, question) < model.skill
        return f"Question: {question}\nAnswer: {true_answer(image, question) if right else _ANSWERS[0]}"
    question = prompt.text.replace(ANSWER_INSTRUCTION, "").strip()
    return true_answer(image, question) if _draw("answer", image, question_key(question)) < model.skill else _MISTAKE


class FakeEngine:
    """FakeModel behind the interface of a real engine, batching included."""

    def __init__(self, folder: Path, *, max_batch: int = 64, max_waiting: int = 4096) -> None:
        self._model = FakeModel.read(folder)
        self._fingerprint = fingerprint(folder)
        self._batcher = MicroBatcher(self._run, max_batch=max_batch, max_waiting=max_waiting)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        return await self._batcher.submit(prompt)

    async def close(self) -> None:
        await self._batcher.close()

    def _run(self, prompts: Sequence[Prompt]) -> Sequence[Outcome]:
        time.sleep(self._model.latency_s)
        texts = [reply_text(self._model, prompt) for prompt in prompts]
        return [
            Reply(text, len(prompt.text.split()), len(text.split()), "stop")
            for prompt, text in zip(prompts, texts, strict=True)
        ]
