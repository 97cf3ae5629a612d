"""Price of a thousand answers of each model, and of the alignment that makes one do for the other.

A provider's answers cost what its price table says. A model of one's own costs time: of the stages
in which it alone answered, at the price of its devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.core.usage import NO_USAGE
from services.orchestrator.run.ledger import Ledger, counts
from services.orchestrator.run.ledger.scores import billed_answers, billed_by_step
from services.orchestrator.run.state import State

THOUSAND = 1000
ASKED_ALONE = "verdict"
"""Step of answers to a labelled set that a verdict asked for, one model after the other."""


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Price of a model, as the user states it: of 1,000 answers, or of an hour of its devices."""

    usd_per_thousand: float | None = None
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Dollars for 1,000 answers, None if unknown, and their source or the reason why not."""

    usd_per_thousand: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class Economy:
    """Costs of both models and of the alignment.

    `break_even`: number of answers after which the alignment has paid for itself; None if that is
    unknown or never. `sentence` says which.
    """

    teacher: AnswerCost
    student: AnswerCost
    alignment_usd: float | None
    alignment_basis: str
    break_even: int | None
    sentence: str


def stage_of(role: str) -> str:
    """Name of the stage in which a verdict asks that model alone."""
    return f"{ASKED_ALONE} {role}"


def measure_economy(ledger: Ledger, teacher: ModelPrice, student: ModelPrice) -> Economy:
    costs = [_cost(ledger, role, of) for role, of in (("teacher", teacher), ("student", student))]
    usd, basis, missing = _alignment(ledger, teacher, student)
    break_even, sentence = _break_even(costs[0], costs[1], usd, missing)
    return Economy(costs[0], costs[1], usd, basis, break_even, sentence)


def _cost(ledger: Ledger, role: str, price: ModelPrice) -> AnswerCost:
    if price.usd_per_thousand is not None:
        return AnswerCost(price.usd_per_thousand, "as stated")
    asked = State(ledger).teacher() if role == "teacher" else ""
    count, usd = billed_answers(ledger, role, asked)
    if usd:
        return AnswerCost(
            THOUSAND * usd / count, f"by the provider's price table, mean of {count:,} answers"
        )
    pace = _pace(ledger, role)
    if price.usd_per_hour is None:
        seconds = f" ({THOUSAND * pace[1] / pace[0]:,.1f} s of its devices)" if pace else ""
        return AnswerCost(
            None,
            f"unknown{seconds}: give --{role}-usd-per-hour, the price of its devices, "
            f"or --{role}-usd, the price of 1,000 answers",
        )
    if pace is None:
        return AnswerCost(
            None,
            f"unknown: the {role} was never asked alone, or its answers came from the cache; give "
            f"--{role}-usd, the price of 1,000 answers, or --eval with a set new to the run",
        )
    answers, seconds_spent = pace
    return AnswerCost(
        THOUSAND * price.usd_per_hour * seconds_spent / 3600 / answers,
        f"{answers:,} answers in {seconds_spent:,.1f} s at ${price.usd_per_hour:,.2f} an hour",
    )


def _pace(ledger: Ledger, role: str) -> tuple[int, float] | None:
    """Answers of a stage in which this model alone was asked, and its seconds; None if there is
    none.
    """
    state = State(ledger)
    calls = counts.finished_calls(ledger)
    stages = [(stage_of(role), calls[f"{role} {ASKED_ALONE}"])]
    if state.answered:  # the models took turns
        stages.append(
            ({"teacher": "identify", "student": "answer"}[role], calls[f"{role} identify"])
        )
    if role == "student" and not calls["teacher evaluate"]:
        stages.append(("evaluate", calls["student evaluate"]))
    seconds = state.seconds
    return next(
        ((count, seconds[name]) for name, count in stages if count and seconds.get(name)), None
    )


def _alignment(ledger: Ledger, teacher: ModelPrice, student: ModelPrice) -> tuple[float, str, str]:
    """Dollars of the run so far without its verdicts, what they cover, and what is missing.

    Devices count for the whole time of the run, in which both are kept. Stages side by side count
    once: annotation within identification.
    """
    bill = sum(ledger.usage().values(), NO_USAGE).cost_usd
    if bill:
        bill -= billed_by_step(ledger, ASKED_ALONE)
    state = State(ledger)
    seconds = {
        name: spent for name, spent in state.seconds.items() if not name.startswith(ASKED_ALONE)
    }
    if not state.answered and seconds.get("annotate", 0.0) <= seconds.get("identify", 0.0):
        seconds.pop("annotate", None)
    hours = sum(seconds.values()) / 3600
    rates = [price.usd_per_hour for price in (teacher, student)]
    known = [rate for rate in rates if rate is not None]
    devices = hours * (max(known, default=0.0) if state.answered else sum(known))
    missing = ""
    if not known:
        if hours:
            missing = (
                f"{hours:,.2f} hours of its devices have no price: give --student-usd-per-hour, "
                "and --teacher-usd-per-hour if the teacher runs on your devices, too"
            )
        covered = f"the provider's bill alone; {hours:,.2f} hours of devices are not counted"
    else:
        covered = f"${bill:,.2f} to the provider, {hours:,.2f} hours of devices ${devices:,.2f}"
    return bill + devices, covered, missing


def _break_even(
    teacher: AnswerCost, student: AnswerCost, usd: float, missing: str
) -> tuple[int | None, str]:
    """Number of answers, and a sentence. `missing`: what of the alignment has no price; or ""."""
    if teacher.usd_per_thousand is None or student.usd_per_thousand is None:
        return None, "when the alignment pays for itself is unknown: a price is missing"
    saved = (teacher.usd_per_thousand - student.usd_per_thousand) / THOUSAND
    if saved <= 0:
        return None, "the alignment never pays for itself: the student's answers cost no less"
    if missing:
        return None, f"when the alignment pays for itself is unknown: {missing}"
    answers = math.ceil(usd / saved)
    return answers, f"the alignment has paid for itself after {answers:,} answers"
