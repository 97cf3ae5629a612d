"""A scripted model that needs no weights: for tests and for trying the platform.

A fake checkpoint is a folder with `fake.json`: {"skill": 0.6, "unparsed": 0.02, ...} (FakeModel).
Every (image, question) has a true answer and a draw in [0, 1), both from their hash. A model of
skill s answers correctly if the draw is below s, so a more skilled model knows all that a less
skilled one does. Asked to annotate, by the prompt of a task, it writes a question (by the request's
seed) and the true answer; a share `unparsed` of its replies is no annotation. Replies depend on the
request alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.core.annotation import question_key
from services.core.errors import InvalidInput
from services.core.provenance import FinishReason
from services.core.recipes import RECIPES
from services.core.tasks import ANSWER_INSTRUCTION, TASKS
from services.engines import checkpoint
from services.engines.adapters import AdaptedModel
from services.engines.batching import MicroBatcher
from services.engines.computation import Outcome
from services.engines.model import Prompt, Reply, TokenScore, VisionLanguageModel
from services.engines.settings import EngineSettings

_ANSWERS = ("red", "green", "blue", "teal", "gray", "brown", "yellow", "black")
_QUESTIONS = (
    "what color is object {n}?",
    "what is the color of thing {n}?",
    "what shade has part {n}?",
)
_MISTAKE = "unknown"
_LIKELY, _UNLIKELY = 0.0, -3.0
_WORD = re.compile(r"\s*\S+")
_GIVEN = re.compile(r"^ *Question: (?!Q$)(.+)$", re.MULTILINE)
"""The question in the annotation prompt of a task that always asks the same one."""


def _words(text: str) -> str:
    """The text, whatever its indentation and lines."""
    return " ".join(text.split())


_REQUESTS = tuple(
    _words(recipe.annotation_prompt(task)) for recipe in RECIPES.values() for task in TASKS.values()
)
"""Annotation prompts. Wishes and earlier questions come before them (core/diversity)."""


@dataclass(frozen=True, slots=True)
class FakeModel:
    """The content of fake.json."""

    skill: float = 0.6
    unparsed: float = 0.0
    latency_s: float = 0.0
    """Seconds that a batch takes."""
    word_s: float = 0.0
    """Seconds that each word takes, if somebody hears the reply."""
    memory_gib: float = 0.0
    """Memory that the model claims to need."""
    stale: bool = False
    """Whether the old model's skill remains after a reload, as in some real engines."""
    deadly: str = ""
    """A question with this word kills the engine at once; "" is no word, here and below."""
    hanging: str = ""
    """A question with this word blocks the engine's thread for good."""
    failing: str = ""
    """A question with this word makes the computation of its batch raise an error."""
    wordy: str = ""
    """A question with this word is answered in several words, by the seed, as a request to
    annotate is."""

    @staticmethod
    def read(folder: Path) -> FakeModel:
        try:
            return FakeModel(**json.loads((folder / "fake.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"{folder} holds no readable fake.json: {error}", field="model"
            ) from error

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake.json").write_text(json.dumps(asdict(self)))


def _draw(*parts: object) -> float:
    """A number in [0, 1) that is a function of `parts`."""
    return int(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12], 16) / 16**12


def true_answer(image_sha256: str, question: str) -> str:
    return _ANSWERS[int(_draw("truth", image_sha256, question_key(question)) * len(_ANSWERS))]


def answer_of(model: FakeModel, image_sha256: str, question: str) -> str:
    """The answer of `model` to a question."""
    is_right = _draw("answer", image_sha256, question_key(question)) < model.skill
    return true_answer(image_sha256, question) if is_right else _MISTAKE


def reply_text(model: FakeModel, prompt: Prompt) -> str:
    """Reply of `model`; the prompt shows whether an annotation or an answer is wanted."""
    image = prompt.image.sha256
    if _words(prompt.text).endswith(_REQUESTS) or _holds(prompt, model.wordy):
        seed = prompt.decoding.seed
        if _draw("unparsed", image, seed) < model.unparsed:
            return "I see an image."
        pick = _draw("question", image, seed)
        given = _GIVEN.search(prompt.text)
        question = (
            given[1]
            if given
            else _QUESTIONS[int(pick * len(_QUESTIONS))].format(n=int(pick * 1e6) % 40)
        )
        right = _draw("annotation", image, question) < model.skill
        answer = true_answer(image, question) if right else _ANSWERS[0]
        return f"Question: {question}\nAnswer: {answer}"
    question = prompt.text.replace(ANSWER_INSTRUCTION, "").strip()
    return answer_of(model, image, question)


class FakeEngine:
    """A FakeModel with all that a real engine has: batches, adapters, reloads, death."""

    def __init__(self, folder: Path, settings: EngineSettings, fingerprint: str) -> None:
        self._folder = folder
        self._settings = settings
        self._models = {"": FakeModel.read(folder)}
        self._fingerprint = fingerprint
        self._let_go = threading.Event()
        self._batcher = MicroBatcher(
            self._run,
            max_batch=settings.most_at_once(),
            max_waiting=settings.max_waiting,
            watchdog_s=settings.watchdog_s,
        )

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        return await self.generate_with(prompt, "")

    async def generate_with(self, prompt: Prompt, adapter: str) -> Reply:
        """Answers by an adapter; "" is the model itself."""
        if _holds(prompt, self._models[adapter].deadly):
            self._batcher.die("it was asked a deadly question")
        return await self._batcher.submit(prompt, adapter)

    async def death(self) -> str:
        return await self._batcher.death()

    async def reload(self, folder: Path) -> None:
        fresh = FakeModel.read(folder)
        self._models[""] = replace(fresh, skill=self._models[""].skill) if fresh.stale else fresh
        self._folder = folder
        self._fingerprint = await asyncio.to_thread(checkpoint.fingerprint, folder)

    async def borrow(self, folder: Path) -> Sequence[str]:
        self._borrowed = FakeModel.read(folder)
        return ["model"]

    async def exchange(self, parts: Collection[str]) -> None:
        if parts:
            self._models[""], self._borrowed = self._borrowed, self._models[""]

    async def with_adapter(self, folder: Path) -> VisionLanguageModel:
        if not self._settings.max_lora_rank:
            raise InvalidInput("this engine serves no adapters: set MAX_LORA_RANK", field="model")
        self._models[str(folder)] = FakeModel.read(folder)
        fingerprint = await asyncio.to_thread(checkpoint.fingerprint, folder)
        return AdaptedModel(self, str(folder), fingerprint)

    async def drop_adapter(self, adapter: str) -> None:
        """Keeps the adapter, which another version of the same folder may use."""

    async def close(self) -> None:
        await self._batcher.close()
        self._let_go.set()

    def _run(self, prompts: Sequence[Prompt], adapter: str) -> Sequence[Outcome]:
        model = self._models[adapter]
        if any(_holds(prompt, model.hanging) for prompt in prompts):
            self._let_go.wait()  # until the engine, given up, has been closed
        if any(_holds(prompt, model.failing) for prompt in prompts):
            raise RuntimeError("it was asked a failing question")
        time.sleep(model.latency_s)
        replies = [_reply(model, prompt) for prompt in prompts]
        self._tell(model, list(zip(prompts, replies, strict=True)))
        return replies

    def _tell(self, model: FakeModel, batch: Sequence[tuple[Prompt, Reply]]) -> None:
        """Writes the replies word by word, for those who hear them."""
        heard = [(prompt.heard, reply) for prompt, reply in batch if prompt.heard]
        for step in range(max((reply.completion_tokens for _, reply in heard), default=0)):
            time.sleep(model.word_s)
            self._batcher.beat()
            for hear, reply in heard:
                if step < reply.completion_tokens:
                    text = "".join(_WORD.findall(reply.text)[: step + 1])
                    hear(Reply(text, reply.prompt_tokens, step + 1))


def _reply(model: FakeModel, prompt: Prompt) -> Reply:
    """A word is a token; a given reply is likely if the model would write it.

    A written one has no more words than the prompt allows.
    """
    written = _WORD.findall(reply_text(model, prompt))
    limit = prompt.decoding.max_new_tokens
    text = "".join(written[:limit])
    own = tuple(zlib.crc32(word.encode()) for word in text.split())
    tokens = prompt.given or own
    is_cut = len(written) > limit and not prompt.given
    return Reply(
        text="" if prompt.given else text,
        prompt_tokens=len(prompt.text.split()),
        completion_tokens=len(tokens),
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        token_ids=tokens,
        logprobs=(_LIKELY if tokens == own else _UNLIKELY,) * len(tokens),
        token_texts=() if prompt.alternatives is None else tuple(_WORD.findall(text)),
        alternatives=tuple(
            (TokenScore(word, _LIKELY), TokenScore(_MISTAKE, _UNLIKELY))[: prompt.alternatives]
            for word in _WORD.findall(text)
            if prompt.alternatives
        ),
    )


def _holds(prompt: Prompt, word: str) -> bool:
    return bool(word) and word in prompt.text


def memory_bytes(folder: Path, settings: EngineSettings, gpu_bytes: int | None) -> int:
    """Bytes that fake.json claims."""
    return int(FakeModel.read(folder).memory_gib * 2**30)
