"""The options of `mpa-orch`, each described once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.core.answers import MATCHERS
from services.core.errors import InvalidInput
from services.core.parity import Cell
from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.orchestrator.cli.amounts import dollars
from services.orchestrator.exports import ExportFormat

_services = partial(typer.Option, rich_help_panel="Services")
_images = partial(typer.Option, rich_help_panel="Images")
_questions = partial(typer.Option, rich_help_panel="Questions and answers")
_labels = partial(typer.Option, rich_help_panel="What is trained on")
_rounds = partial(typer.Option, rich_help_panel="Rounds")
_costs = partial(typer.Option, rich_help_panel="Costs")


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Callback of an option whose value `check` refuses by InvalidInput: a usage error (exit code 2)."""

    def refuse(given: str) -> str:
        try:
            if given:
                check(given)
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None
        return given

    return refuse


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Callback of an option that takes one of `names`."""

    def check(given: str) -> None:
        if given not in names:
            raise InvalidInput(f"{given!r} is not known: choose one of {', '.join(names)}")

    return checked(check)


class Role(StrEnum):
    TEACHER = "teacher"
    STUDENT = "student"


class Loss(StrEnum):
    TOKEN = "token"
    SAMPLE = "sample"


class Engine(StrEnum):
    LOCAL = "local"
    RAY = "ray"


Images = Annotated[
    str,
    typer.Argument(
        help="A folder, glob or file: images, JSONL, CSV, Parquet, Arrow, tar, zip; here or at a URL."
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Run folder; one that exists is resumed."),
]
Task = Annotated[str, typer.Option(help=", ".join(TASKS), callback=one_of(TASKS))]
Teacher = Annotated[
    str, _services(envvar="MPA_TEACHER", metavar="HOST:PORT", help="The teacher service.")
]
Teachers = Annotated[
    list[str] | None,
    _services(
        "--teacher",
        envvar="MPA_TEACHER",
        metavar="[TASK=]HOST:PORT",
        help="The teacher service. Several (the option repeated) vote; one with a task is for runs of that task.",
    ),
]
Student = Annotated[
    str, _services(envvar="MPA_STUDENT", metavar="HOST:PORT", help="The student service.")
]
Local = Annotated[
    bool, _services("--local", help="Start both services here, and stop them at the end.")
]
SingleDevice = Annotated[
    bool,
    _services(
        "--single-device",
        help="As --local with one model in memory at a time; a teacher with an address stays where it is.",
    ),
]
EngineOption = Annotated[
    Engine,
    _services(
        "--engine", help="What spreads annotating and identifying: this process, or a Ray cluster."
    ),
]
RayAddress = Annotated[
    str,
    _services(
        "--ray-address",
        envvar="RAY_ADDRESS",
        metavar="HOST:PORT",
        help="With --engine ray: the cluster's head node, or auto. Default: a cluster of this machine alone.",
    ),
]
RecipeName = Annotated[
    str,
    _questions(
        "--recipe",
        help=f"{', '.join(RECIPES)}. Each trains on the images that aren't held out (85 %). "
        "Default: the run's own, else that of the student's preset; paper where no student is named.",
        callback=one_of(RECIPES),
    ),
]
Matcher = Annotated[
    str,
    _questions(
        help=f"{', '.join(MATCHERS)}. Default: the recipe's, else the task's.",
        callback=one_of(MATCHERS),
    ),
]
StudentMatcher = Annotated[
    str,
    _questions(
        "--student-matcher",
        help="Matcher for the student's answers. Default: the same as --matcher.",
        callback=one_of(MATCHERS),
    ),
]
Limit = Annotated[int, _images(min=0, help="Take the first N images only; 0 takes all.")]
NearDuplicates = Annotated[
    int | None,
    _images(
        "--near-duplicates",
        metavar="BITS",
        min=0,
        max=12,
        help="Leave out images that look like an earlier one: of the 64 bits of their hashes so many differ, 4 being usual.",
    ),
]
LeakCheck = Annotated[
    list[str] | None,
    _images(
        "--leak-check",
        metavar="IMAGES",
        help="Leave out what is in there, too, as in every --eval. May be repeated.",
    ),
]
Labelled = Annotated[
    Path | None,
    _images(
        "--eval",
        metavar="JSONL",
        help='Measures on labels, and decides nothing: a line is {"image", "question", "answers", optional "kind"}.',
    ),
]
FullMatrix = Annotated[
    bool, _questions("--full-matrix", help="Ask the teacher where the student was right, too.")
]
Seed = Annotated[int, _labels(min=0, help="Of annotation sampling and training.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before training and promotion.")]
Force = Annotated[bool, typer.Option("--force", help="Whatever the evaluation says.")]
LoraRank = Annotated[
    int,
    _labels(
        "--lora-rank",
        min=0,
        help="Train low-rank adapters of this rank instead of the whole student.",
    ),
]
Guided = Annotated[
    bool,
    _questions(
        "--guided",
        help="The teacher can write nothing but a question and an answer (engines with guided decoding).",
    ),
]
Questions = Annotated[
    int | None, _questions("--questions", min=1, help="About each image. Default: the recipe's.")
]
Distinct = Annotated[
    bool | None,
    _questions(
        "--distinct",
        help="Tell the teacher what it asked about an image before, and collapse other wordings of one question.",
        show_default=False,
    ),
]
MaxPerKind = Annotated[
    int | None,
    _questions(
        "--max-per-kind",
        min=0,
        help="Questions of a kind (yes/no, how many, ...) that an image keeps.",
    ),
]
MaxShare = Annotated[
    float | None,
    _labels(
        "--max-share-per-kind",
        min=0.01,
        max=1.0,
        help="Of the parity set, that questions of one kind may take.",
    ),
]
Samples = Annotated[
    int | None,
    _labels(
        "--samples",
        min=0,
        max=100,
        help="Ask each teacher N times more, sampled, about what is trained on: the label noise.",
    ),
]
SampleTemperature = Annotated[
    float | None, _labels("--sample-temperature", min=0.05, max=2.0, help="Default: 0.7.")
]
MinAgreement = Annotated[
    float | None,
    _labels(
        "--min-agreement",
        min=0.0,
        max=1.0,
        help="Train on no record with a smaller share of agreeing samples.",
    ),
]
LossName = Annotated[
    Loss | None,
    _labels(
        "--loss",
        help="Average over the batch's answer tokens, or over samples, each summed over its tokens (Eq. 3). "
        "Default: the recipe's (paper: sample), else that of the student's preset.",
    ),
]
Trial = Annotated[
    bool,
    _services(
        "--trial",
        help="Where the student has room for one model: the candidate answers everybody while it is judged.",
    ),
]
Rounds = Annotated[
    int, _rounds(min=1, help="At most so many; each aligns the student that the last one made.")
]
UntilGap = Annotated[
    float,
    _rounds(
        "--until-gap",
        min=0.0,
        max=0.99,
        metavar="SHARE",
        help="Stop once the gap is below it, such as 0.05.",
    ),
]
RedoRejected = Annotated[
    bool,
    _rounds(
        "--redo-rejected",
        help="Later rounds ask the teacher anew for annotations that were rejected.",
    ),
]
Focus = Annotated[
    bool,
    _rounds(
        "--focus",
        help="Later rounds ask one question more about each image, of the kinds that the gap is made of.",
    ),
]
BudgetUsd = Annotated[
    str,
    _costs(
        "--budget",
        metavar="USD",
        help="Stop before the run has cost more in all, such as 20USD; 0: cached work alone.",
        callback=checked(dollars),
    ),
]
MaxHours = Annotated[
    float | None, _costs("--max-hours", min=0.0, help="Stop before the run has taken more in all.")
]
UsdPerHour = Annotated[
    float,
    _costs(
        "--usd-per-hour",
        min=0.0,
        help="What the devices at work cost together, besides a provider's bill.",
    ),
]
NoCache = Annotated[
    bool,
    _costs("--no-cache", help="Ask the teacher even what the cache knows, and keep nothing there."),
]
Production = Annotated[
    list[Path] | None,
    _images(
        "--production",
        metavar="DIR",
        help="Audit the requests that the student's service has sampled there, too.",
    ),
]
Version = Annotated[str, typer.Option(help="Default: the live one.")]
OfRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="With --local: that run's student.")
]
AnyRun = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="Without it: all runs below runs/.")
]
LocalRun = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="With --local: the run whose student it is.")
]
ModelName = Annotated[str, typer.Argument(metavar="[NAME]", help="One of them, in full.")]
RoleOption = Annotated[Role | None, typer.Option("--role", help="Those fit for it.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Host = Annotated[str, typer.Option(help="Interface to listen on.")]
Port = Annotated[int, typer.Option(help="HTTP. Default: 3001 (teacher), 3000 (student).")]
GrpcPort = Annotated[int, typer.Option(help="Default: 50051 (teacher), 50052 (student).")]
Patience = Annotated[
    float,
    _services(
        envvar="MPA_ORCH_PATIENCE_S", min=0.0, help="Seconds to wait for a service that is away."
    ),
]
RunsFolder = Annotated[
    Path, typer.Argument(metavar="[FOLDER]", help="Where the runs are.", show_default=True)
]
OtherRun = Annotated[Path, typer.Argument(metavar="RUN", help="The one that it is compared with.")]
Cells = Annotated[
    list[Cell] | None, typer.Option("--cell", help="Those in it; can be given several times.")
]
Rejected = Annotated[
    str,
    typer.Option(
        metavar="REASON", help='Those rejected for it; "image": every image that was refused.'
    ),
]
QuestionText = Annotated[
    str,
    typer.Option("--question", metavar="TEXT", help="Those whose question holds it, in any case."),
]
PageSize = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Rows of a page.")]
Page = Annotated[int, typer.Option("--page", min=1)]
FormatName = Annotated[ExportFormat, typer.Option("--format", help="See docs/exports.md.")]
Output = Annotated[
    Path, typer.Option("--output", metavar="PATH", help="A file or folder that isn't there yet.")
]
Everything = Annotated[
    bool,
    typer.Option(
        "--all", help="Every record; rejected ones, too, where the format has a place for them."
    ),
]
YesDelete = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Disagreements = Annotated[
    bool, typer.Option("--disagreements", help="Show the records on which they disagree, too.")
]
