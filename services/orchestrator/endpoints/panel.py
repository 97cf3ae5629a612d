"""The teachers of a run: one, or a panel whose majority decides whether an annotation is right.

`--teacher A --teacher B` names two (MPA_TEACHER separates them by spaces), `--teacher
chartqa=C` one for runs of that task. Replicas of one teacher are one address:
10.0.0.1:50051,10.0.0.2:50051.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from services.core.decoding import Decoding
from services.core.errors import InvalidInput, WrongState
from services.core.tasks import TASKS
from services.orchestrator.run.run import Run
from services.rpc.client import AnnotationReply, AnswerReply, Picture, Teacher, TeacherModel
from services.together import together


class Panel:
    """Several teachers as one. The first annotates and answers every question without a vote."""

    def __init__(self, members: Sequence[Teacher]) -> None:
        self.members = tuple(members)
        self._opened = AsyncExitStack()

    @property
    def address(self) -> str:
        return self.members[0].address

    @property
    def in_flight(self) -> int:
        return self.members[0].in_flight

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for member in self.members:
                await stack.enter_async_context(member)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._opened.__aexit__(*error)

    async def ready(self) -> None:
        async with together() as group:
            for member in self.members:
                group.create_task(member.ready())

    async def model(self) -> TeacherModel | None:
        return await self.members[0].model()

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        return await self.members[0].annotate(picture, task, prompt, decoding, guided=guided)

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        return await self.members[0].answer(picture, question, template, decoding)


def seated(members: Sequence[Teacher]) -> Teacher:
    """One teacher, or a panel of several."""
    return Panel(members) if len(members) > 1 else members[0]


def panel_of(teacher: Teacher) -> tuple[Teacher, ...]:
    """The teachers in the order of their seats; a single teacher is a panel of one."""
    return teacher.members if isinstance(teacher, Panel) else (teacher,)


def require_panel(run: Run, teacher: Teacher) -> None:
    """Raises WrongState if there are more or fewer teachers than the run began with."""
    require_teachers(run, len(panel_of(teacher)))


def require_teachers(run: Run, count: int) -> None:
    """Raises WrongState as `require_panel` does, for a number of teachers."""
    wanted = run.settings.teachers
    if count != wanted:
        raise WrongState(
            f"this run began with {wanted} teachers, and {count} are named: "
            "name the same ones, in the same order"
        )


def require_same_teacher(run: Run, teacher: Teacher, fingerprint: str, seat: int = 0) -> None:
    """Raises WrongState if the model in this seat has changed, or is the model of another seat."""
    known = run.state.teacher(seat)
    if known == fingerprint:
        return
    if known:
        raise WrongState(
            f"the teacher at {teacher.address} is another model ({fingerprint[:12]}) "
            f"than the one this run began with ({known[:12]}): "
            "start that one, or give another --run"
        )
    if any(run.state.teacher(other) == fingerprint for other in range(run.settings.teachers)):
        raise WrongState(
            f"the teacher at {teacher.address} is the same model as another one of this run: "
            "a vote needs different models "
            "(replicas of one teacher are one address: HOST:PORT,HOST:PORT)"
        )
    run.state.set_teacher(seat, fingerprint)


def addresses_for(task: str, named: Sequence[str]) -> tuple[str, ...]:
    """The teachers of `task` in their order: those named for it, else those named for no task.

    Raises InvalidInput for an unknown task, or one teacher named twice.
    """
    by_task: dict[str, list[str]] = {}
    for name in named:
        of, _, address = name.rpartition("=")
        if of and of not in TASKS:
            raise InvalidInput(
                f"--teacher {name}: there is no task {of!r}, choose one of {', '.join(TASKS)}",
                field="teacher",
            )
        by_task.setdefault(of, []).append(address)
    found = by_task.get(task) or by_task.get("", [])
    if twice := next((address for address in found if found.count(address) > 1), ""):
        raise InvalidInput(
            f"the teacher {twice} is named twice: a vote needs different models", field="teacher"
        )
    return tuple(found)
