"""The teacher as a plain object, called by its gRPC servicer, its HTTP face and Ray actors."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.annotation import Annotation, Rejection, annotation_pattern, parse_annotation
from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.provenance import FinishReason
from services.core.tasks import ANSWER_TEMPLATE, TASKS, Task, answer_prompt
from services.engines.images import LoadedImage
from services.engines.model import (
    Prompt,
    Reply,
    VisionLanguageModel,
)
from services.engines.serving import UNSTATED, Serving

_WITHHELD = {
    FinishReason.REFUSAL: Rejection.REFUSAL,
    FinishReason.CONTENT_FILTER: Rejection.CONTENT_FILTER,
}


@dataclass(frozen=True, slots=True)
class Annotated:
    """A reply to an annotation prompt, and the annotation read from it or the reason for none."""

    reply: Reply
    outcome: Annotation | Rejection


def find_task(name: str) -> Task:
    """Raises InvalidInput: unknown task."""
    if name not in TASKS:
        raise InvalidInput(
            f"there is no task {name!r}: use one of {', '.join(TASKS)}", field="task"
        )
    return TASKS[name]


class HostedTeacher:
    """One frozen model."""

    def __init__(self, model: VisionLanguageModel, serving: Serving = UNSTATED) -> None:
        self._model = model
        self.serving = serving

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    async def annotate(
        self,
        image: LoadedImage,
        task: Task,
        prompt: str,
        decoding: Decoding,
        *,
        guided: bool = False,
    ) -> Annotated:
        """Pseudo Annotator (paper, Section 3.1): `prompt` "" is the task's own.

        A refusal is no annotation. If a reply was cut off, only its whole lines count: the last
        one may lack the end of its answer.
        """
        pattern = annotation_pattern(task) if guided else ""
        reply = await self._model.generate(
            Prompt(image, prompt or task.annotation_prompt, decoding, pattern=pattern)
        )
        return Annotated(reply, _read(reply, task))

    async def answer(
        self, image: LoadedImage, question: str, template: str, decoding: Decoding
    ) -> Reply:
        """Blind answer of Eq. 1: a new request that doesn't see the annotation."""
        return await self._model.generate(
            Prompt(image, answer_prompt(question, template or ANSWER_TEMPLATE), decoding)
        )

    async def death(self) -> str:
        """Returns the reason if the engine dies by itself."""
        return await self._model.death()

    async def close(self) -> None:
        await self._model.close()


def _read(reply: Reply, task: Task) -> Annotation | Rejection:
    if reply.finish_reason in _WITHHELD:
        return _WITHHELD[reply.finish_reason]
    if reply.finish_reason is not FinishReason.LENGTH:
        return parse_annotation(reply.text, task)
    whole_lines = reply.text.rpartition("\n")[0]
    found = parse_annotation(whole_lines, task)
    return found if isinstance(found, Annotation) else Rejection.CUT_OFF
