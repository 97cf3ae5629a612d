"""Options that several commands of `mpa-orch` share, each described once."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.core.errors import InvalidInput

flag = partial(typer.Option, metavar="")
"""A switch: it takes no value, so the help shows none."""

SERVICES, SEVERAL_MACHINES = "Services", "Several machines"
"""Panels of options."""
EXPERIMENTS = "Experiments and data"
"""Panel of commands."""


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Callback of an option: InvalidInput of `check` becomes a usage error (exit code 2)."""

    def refuse(given: str) -> str:
        try:
            if given:
                check(given)
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None
        return given

    return refuse


def finite(given: float | None) -> float | None:
    """Callback of an option that takes a number: those without a value are usage errors."""
    if given is not None and not math.isfinite(given):
        raise typer.BadParameter(f"{given} is no amount: give a number such as 5")
    return given


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Callback of an option that takes one of `names`."""

    def check(given: str) -> None:
        if given not in names:
            raise InvalidInput(f"{given!r} is not known: choose one of {', '.join(names)}")

    return checked(check)


class Role(StrEnum):
    TEACHER = "teacher"
    STUDENT = "student"


class Engine(StrEnum):
    LOCAL = "local"
    RAY = "ray"


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]
Teacher = Annotated[
    str,
    typer.Option(
        "--teacher",
        envvar="MPA_TEACHER",
        metavar="HOST:PORT",
        help="Address of the teacher service; of its replicas: HOST:PORT,HOST:PORT.",
    ),
]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        envvar="MPA_TEACHER",
        metavar="[TASK=]HOST:PORT",
        help="Address of the teacher service; of its replicas: HOST:PORT,HOST:PORT. "
        "Repeat it for several teachers: they vote. TASK= limits a teacher to runs of that task.",
    ),
]
Student = Annotated[
    str,
    typer.Option(
        "--student",
        envvar="MPA_STUDENT",
        metavar="HOST:PORT",
        help="Address of the student service; of its replicas: HOST:PORT,HOST:PORT.",
    ),
]
Local = Annotated[
    bool,
    flag(
        "--local",
        help="Start the services on this machine, with the bundled models by default; "
        "stop them at the end.",
    ),
]
SingleDevice = Annotated[
    bool,
    flag(
        "--single-device",
        help="Like --local, with only one model in memory at a time. "
        "A teacher with an address is used at that address.",
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Engine that annotates and identifies: this process, or a Ray cluster.",
        rich_help_panel=SEVERAL_MACHINES,
    ),
]
RayAddress = Annotated[
    str,
    typer.Option(
        "--ray-address",
        envvar="RAY_ADDRESS",
        metavar="HOST:PORT",
        help='Head node of the Ray cluster, or "auto". Default: a cluster of this machine alone.',
        rich_help_panel=SEVERAL_MACHINES,
    ),
]
Trial = Annotated[
    bool,
    flag(
        "--trial",
        help="Let the candidate answer all requests while it is evaluated, if the student has "
        "memory for only one version.",
        rich_help_panel=SERVICES,
    ),
]
NoCache = Annotated[
    bool,
    flag(
        "--no-cache",
        help="Neither read nor write the cache of teachers' replies.",
        rich_help_panel=SERVICES,
    ),
]
ShowPage = Annotated[
    bool,
    flag(
        "--ui",
        help="Print the address of a page that shows the run while this command is at work.",
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        "--patience",
        envvar="MPA_ORCH_PATIENCE_S",
        metavar="SECONDS",
        min=0.0,
        help="Seconds to wait for an unreachable service.",
        rich_help_panel=SERVICES,
    ),
]
Labelled = Annotated[
    Path | None,
    typer.Option(
        "--eval",
        metavar="JSONL",
        help="Also measure accuracy on labels; they never influence the run. "
        'Each line is {"image", "question", "answers", optional "kind"}.',
    ),
]
Guards = Annotated[
    list[Path] | None,
    typer.Option(
        "--guard",
        metavar="LABELLED",
        help="Set of another ability that must not be lost: the candidate is promoted only if "
        "its loss there is within --guard-tolerance. Can be repeated.",
    ),
]
GuardTolerance = Annotated[
    float | None,
    typer.Option(
        "--guard-tolerance",
        metavar="POINTS",
        callback=finite,
        min=0.01,
        max=99.0,
        help="Largest loss on each guard set, in points: the whole 95 % interval of the change "
        "has to be above its negative. Default: 5.",
        show_default=False,
    ),
]
Yes = Annotated[
    bool, flag("--yes", "-y", help="Skip the confirmation before training and promotion.")
]
Reviewed = Annotated[
    bool,
    flag(
        "--reviewed",
        help="Use people's reviews: train on corrected answers, leave out rejected records, and "
        "judge the candidate by them, too.",
        rich_help_panel="Training",
    ),
]
Version = Annotated[
    str,
    typer.Option(
        "--version",
        metavar="VERSION",
        help="Version that answers, such as v2. Default: the live one.",
    ),
]
StudentOfRun = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="RUN", help="Folder of the run that trained the student; needs --local."
    ),
]
Json = Annotated[bool, flag("--json", help="Print JSON, for programs.")]
PageSize = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="Rows on a page.")
]
Page = Annotated[int, typer.Option("--page", min=1, metavar="N", help="Page to show.")]
Output = Annotated[
    Path,
    typer.Option("--output", metavar="PATH", help="New file or folder to write."),
]
AnchorQuestions = Annotated[
    Path | None,
    typer.Option(
        "--anchor-questions",
        metavar="FILE",
        help="Questions of anchors (+anchor-W in the recipe), one a line. Default: general ones.",
        rich_help_panel="Training",
    ),
]
