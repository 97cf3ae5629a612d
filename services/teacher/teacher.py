"""The teacher as a plain object: what its gRPC servicer and its HTTP face both call."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.annotation import Annotation, Rejection, parse_annotation
from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.tasks import ANSWER_TEMPLATE, TASKS, Task, answer_prompt
from services.engines.images import LoadedImage
from services.engines.model import Prompt, Reply, VisionLanguageModel


@dataclass(frozen=True, slots=True)
class Annotated:
    """A reply to an annotation prompt, and what could be read from it."""

    reply: Reply
    outcome: Annotation | Rejection


def find_task(name: str) -> Task:
    """Raises InvalidInput: unknown task."""
    if name not in TASKS:
        raise InvalidInput(f"there is no task {name!r}: use one of {', '.join(TASKS)}", field="task")
    return TASKS[name]


class Teacher:
    """One frozen model."""

    def __init__(self, model: VisionLanguageModel) -> None:
        self._model = model

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    async def annotate(self, image: LoadedImage, task: Task, prompt: str, decoding: Decoding) -> Annotated:
        """Pseudo Annotator (paper, Section 3.1): `prompt` "" is the task's own."""
        reply = await self._model.generate(Prompt(image, prompt or task.annotation_prompt, decoding))
        return Annotated(reply, parse_annotation(reply.text, task))

    async def answer(self, image: LoadedImage, question: str, template: str, decoding: Decoding) -> Reply:
        """The blind answer of Eq. 1: a fresh request that knows nothing of the annotation."""
        return await self._model.generate(Prompt(image, answer_prompt(question, template or ANSWER_TEMPLATE), decoding))

    async def close(self) -> None:
        await self._model.close()
