"""The two roles that the orchestrator calls, however each is played.

The clients of this package play them over gRPC. Panels, caches and models that are loaded in the
caller's own process play them, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from types import TracebackType
from typing import Protocol, Self

from protos.mpa.v1 import training_pb2
from services.core.decoding import Decoding
from services.rpc.client.replies import (
    AnnotationReply,
    AnswerReply,
    Picture,
    Promotion,
    StudentVersion,
    TeacherModel,
    TrainedVersion,
    TrainingPlan,
    TrainingState,
    VersionPointers,
)


class Reachable(Protocol):
    """A model that answers from an address until it is closed, by leaving its `async with`."""

    @property
    def address(self) -> str:
        """HOST:PORT, or another name for the place. Messages quote it."""

    @property
    def in_flight(self) -> int:
        """Most calls that it takes at a time."""

    async def ready(self) -> None:
        """Waits until the model can answer. Raises Unavailable."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Teacher(Reachable, Protocol):
    """The large model: it annotates images and answers questions."""

    async def model(self) -> TeacherModel | None:
        """The model that answers; None if the service is too old to report it."""

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        """A question about the image, with its answer.

        `guided`: the reply must fit the task's form.
        """

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply: ...


class AnsweringStudent(Reachable, Protocol):
    """The small model, as far as it answers by a version that the caller names."""

    async def answer(
        self,
        picture: Picture,
        question: str,
        template: str,
        decoding: Decoding,
        version: str,
        *,
        scored: bool = False,
    ) -> AnswerReply:
        """`scored`: the reply has its `logprob`, if the model can tell it."""


class Student(AnsweringStudent, Protocol):
    """The small model with its versions and its training."""

    async def answer(
        self,
        picture: Picture,
        question: str,
        template: str = "",
        decoding: Decoding | None = None,
        version: str = "",
        *,
        retry: bool = True,
        scored: bool = False,
    ) -> AnswerReply:
        """The answer of `version`, the live version by default.

        An empty `template` and a `decoding` of None are those of the version's contract. Without
        `retry`, the call checks the endpoint: it fails at the first error and is never sampled.
        """

    async def pointers(self) -> VersionPointers:
        """The names of the live, the candidate and the previous version."""

    async def version(self, name: str) -> StudentVersion:
        """Raises NotFound."""

    async def load(self, name: str) -> None:
        """Loads a version as the candidate. Raises WrongState, or InvalidInput for bad weights."""

    async def promote(self, name: str, expected_live: str, card: str = "") -> Promotion:
        """Makes a version live, and keeps its model card (Markdown) with its files.

        Raises Conflict if another version than `expected_live` is live.
        """

    async def rollback(self) -> VersionPointers:
        """Makes the previous version live."""

    async def upload(
        self, parts: Callable[[], AsyncIterable[training_pb2.UploadDatasetRequest]]
    ) -> str:
        """Sends a data set and returns its name. Raises every error that `parts` raises."""

    async def train(self, request: training_pb2.TrainRequest) -> TrainingState:
        """Starts a training. Raises Conflict while another one runs."""

    async def plan_training(self, chosen: training_pb2.Hyperparameters) -> TrainingPlan | None:
        """Forecast of a training from the live version; None if the service is too old for one."""

    async def training(self, operation: str) -> TrainingState:
        """The state of a training. Raises NotFound."""

    async def sample_losses(self, operation: str) -> list[tuple[float, ...]]:
        """Losses by epoch of each sample of a training's data set, in its order; NaN: not known.

        Empty if the service has none.
        """

    async def operations(self) -> list[TrainingState]:
        """Every training that the service knows, oldest first."""

    async def trainings(self) -> tuple[str, tuple[TrainedVersion, ...]]:
        """The preset of the service and the versions that it trained, oldest first."""
