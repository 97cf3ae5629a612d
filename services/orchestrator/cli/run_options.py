"""Options that define a run and its limits, for `align`, `annotate` and `quote`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.core.answers import MATCHERS
from services.core.recipes import RECIPES, USUAL_RECIPE, find_recipe
from services.core.tasks import TASKS
from services.orchestrator.cli.amounts import dollars
from services.orchestrator.cli.options import checked, flag, one_of

QUESTIONS = "Questions and answers"
_images = partial(typer.Option, rich_help_panel="Images")
_questions = partial(typer.Option, rich_help_panel=QUESTIONS)
_training = partial(typer.Option, rich_help_panel="Training")
_rounds = partial(typer.Option, rich_help_panel="Rounds")
_costs = partial(typer.Option, rich_help_panel="Limits of cost")


class Loss(StrEnum):
    TOKEN = "token"
    SAMPLE = "sample"


Images = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="Folder, glob, file or URL: image files, JSONL, CSV, Parquet, Arrow, tar or zip.",
    ),
]
Task = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"Kind of questions to ask: {', '.join(TASKS)}.",
        callback=one_of(TASKS),
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Folder of the run; an existing run is resumed. Default: a new folder in runs/.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help=f"Choices of the alignment: {', '.join(RECIPES)}; with parts, filtered+epochs-4. "
        f"Default: the run's own; for a new run {USUAL_RECIPE}.",
        callback=checked(find_recipe),
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="Use only the first N images; 0: all.")
]

NearDuplicates = Annotated[
    int | None,
    _images(
        "--near-duplicates",
        metavar="BITS",
        min=0,
        max=12,
        help="Exclude images that look like an earlier one: at most BITS of the 64 bits of their "
        "hashes differ. 4 is usual. Default: only exact duplicates.",
    ),
]
LeakCheck = Annotated[
    list[str] | None,
    _images(
        "--leak-check",
        metavar="IMAGES",
        help="Also exclude images found in IMAGES (images of --eval are always excluded). "
        "Can be repeated.",
    ),
]
MaxPixels = Annotated[
    int | None,
    _images(
        "--max-pixels",
        metavar="N",
        min=0,
        help="Most pixels of an image; larger images are shrunk for both models. 0: none is. "
        "Default: the budget of the student's image processor.",
    ),
]
Production = Annotated[
    list[Path] | None,
    _images(
        "--production",
        metavar="DIR",
        help="Also use users' requests, as sampled by the student service in DIR. Can be repeated.",
    ),
]

Questions = Annotated[
    int | None,
    _questions(
        "--questions", min=1, metavar="N", help="Questions about each image. Default: the recipe's."
    ),
]
Distinct = Annotated[
    bool | None,
    flag(
        "--distinct",
        help="Show the teacher its earlier questions about an image, and reject rewordings.",
        show_default=False,
        rich_help_panel=QUESTIONS,
    ),
]
MaxPerKind = Annotated[
    int | None,
    _questions(
        "--max-per-kind",
        min=0,
        metavar="N",
        help="Most questions of one kind (yes/no, how many, ...) for each image; 0: no limit. "
        "Default: the recipe's.",
    ),
]
Guided = Annotated[
    bool,
    flag(
        "--guided",
        help="Force the form of the teacher's reply: one question, one answer. "
        "Needs an engine with guided decoding.",
        rich_help_panel=QUESTIONS,
    ),
]
Matcher = Annotated[
    str,
    _questions(
        "--matcher",
        metavar="NAME",
        help=f"Rule for equal answers: {', '.join(MATCHERS)}. "
        "Default: the recipe's, else the task's.",
        callback=one_of(MATCHERS),
    ),
]
StudentMatcher = Annotated[
    str,
    _questions(
        "--student-matcher",
        metavar="NAME",
        help="Matcher for the student's answers (default: same as --matcher).",
        callback=one_of(MATCHERS),
    ),
]
FullMatrix = Annotated[
    bool,
    flag(
        "--full-matrix",
        help="Ask the teacher every question, even if the student was right.",
        rich_help_panel=QUESTIONS,
    ),
]

Samples = Annotated[
    int | None,
    _training(
        "--samples",
        min=0,
        max=100,
        metavar="N",
        help="Re-ask each teacher N times per training sample to estimate label noise. "
        "Default: the recipe's (0).",
    ),
]
SampleTemperature = Annotated[
    float | None,
    _training(
        "--sample-temperature",
        min=0.05,
        max=2.0,
        metavar="T",
        help="Temperature of the replies of --samples. Default: the recipe's (0.7).",
    ),
]
MinAgreement = Annotated[
    float | None,
    _training(
        "--min-agreement",
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="Smallest share of the replies of --samples that must agree with a "
        "training sample. Default: the recipe's (0).",
    ),
]
MaxShare = Annotated[
    float | None,
    _training(
        "--max-share-per-kind",
        min=0.01,
        max=1.0,
        metavar="SHARE",
        help="Largest share of the parity set that one kind of question may take. "
        "Default: the recipe's (1).",
    ),
]
LoraRank = Annotated[
    int,
    _training(
        "--lora-rank",
        min=0,
        metavar="RANK",
        help="Train low-rank adapters of this rank; 0: train the whole student.",
    ),
]
LossName = Annotated[
    Loss | None,
    _training(
        "--loss",
        help="Loss of the training. token averages over the batch's answer tokens; sample sums "
        "over each answer, then averages over the samples (Eq. 3). Default: the recipe's "
        "(paper: sample), else that of the student's preset.",
    ),
]
Seed = Annotated[
    int,
    _training(
        "--seed", min=0, metavar="N", help="Random seed for annotation sampling and training."
    ),
]

Rounds = Annotated[
    int,
    _rounds(
        "--rounds",
        min=1,
        metavar="N",
        help="Largest number of rounds. Each further one aligns the student of the one before.",
    ),
]
UntilGap = Annotated[
    float,
    _rounds(
        "--until-gap",
        min=0.0,
        max=0.99,
        metavar="SHARE",
        help="Stop when the gap is smaller than this share of the records, such as 0.05.",
    ),
]
RedoRejected = Annotated[
    bool,
    flag(
        "--redo-rejected",
        help="Ask the teacher again for rejected annotations in later rounds.",
        rich_help_panel="Rounds",
    ),
]
Focus = Annotated[
    bool,
    flag(
        "--focus",
        help="Ask one more question about each image in later rounds, of the kinds in the gap.",
        rich_help_panel="Rounds",
    ),
]

BudgetUsd = Annotated[
    str,
    _costs(
        "--budget",
        metavar="USD",
        help="Largest total cost of the run, such as 20USD. 0: cached replies only.",
        callback=checked(dollars),
    ),
]
MaxHours = Annotated[
    float | None,
    _costs(
        "--max-hours",
        min=0.0,
        metavar="HOURS",
        help="Longest total working time of the run, in hours.",
    ),
]
UsdPerHour = Annotated[
    float,
    _costs(
        "--usd-per-hour",
        min=0.0,
        metavar="USD",
        help="Price of all devices together, per hour; added to a provider's bill.",
    ),
]
