"""One model on one or several data sets: the folder of an evaluation, from questions to figures.

evaluation.json     conditions, model, leaks
predictions.jsonl   every question with its references and the answer, appended as they come
figures.json        the scores; report.md: the same for people
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from services.core.decoding import Decoding
from services.core.errors import MpaError, NotFound, WrongState
from services.files import write_atomically
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import locked
from services.orchestrator.scoring.asking import Asking
from services.orchestrator.scoring.conditions import ScoredEvaluation
from services.orchestrator.scoring.figures import ScoreFigures, figures
from services.orchestrator.scoring.predictions import (
    Kept,
    Key,
    Prediction,
    predicted,
    read_answers,
    read_predictions,
)
from services.orchestrator.scoring.report import lines
from services.orchestrator.scoring.respondents import RespondentChoice, respondent


async def evaluate(
    planned: ScoredEvaluation,
    datasets: Sequence[Dataset],
    asked: RespondentChoice,
    folder: Path,
    progress: Progress,
) -> tuple[ScoredEvaluation, ScoreFigures]:
    """Ask all questions that have no answer in `folder` yet, and score the answers.

    Raises WrongState if the folder holds another evaluation, or another model answers than before;
    Conflict if another command is working in it.
    """
    with _held(folder):
        return await _evaluate(planned, datasets, asked, folder, progress)


async def _evaluate(
    planned: ScoredEvaluation,
    datasets: Sequence[Dataset],
    asked: RespondentChoice,
    folder: Path,
    progress: Progress,
) -> tuple[ScoredEvaluation, ScoreFigures]:
    evaluation = _opened(planned, folder)
    keys = _keys(datasets, planned.conditions.limit)
    kept = Kept(folder / "predictions.jsonl")

    def claim(by: str) -> None:
        nonlocal evaluation
        if not evaluation.by:
            evaluation = replace(evaluation, by=by)
            _store(evaluation, folder)
        elif evaluation.by != by:
            raise WrongState(
                f"{folder} holds answers of another model ({evaluation.by[:12]}) than the one "
                f"that answers now ({by[:12]}): ask that one, or give another --out"
            )

    try:
        if not all(map(kept.has, keys)):
            async with respondent(asked, progress) as model:
                budget = evaluation.pixel_budget or model.pixel_budget
                evaluation = replace(evaluation, respondent=model.name, pixel_budget=budget)
                conditions = planned.conditions
                decoding = Decoding(max_new_tokens=conditions.max_new_tokens)
                asking = Asking(model, conditions.template, decoding, budget, kept, claim)
                await asking.ask(datasets, len(keys), conditions.limit, progress)
        _store(evaluation, folder)
    finally:
        kept.close()
    return evaluation, _concluded(evaluation, kept.settle(keys), folder)


def take(
    planned: ScoredEvaluation, datasets: Sequence[Dataset], answers: Path, folder: Path
) -> tuple[ScoredEvaluation, ScoreFigures]:
    """Score the predictions of another program; a missing one counts as wrong.

    Raises InvalidInput for unknown ids.
    """
    with _held(folder):
        return _take(planned, datasets, answers, folder)


def _take(
    planned: ScoredEvaluation, datasets: Sequence[Dataset], answers: Path, folder: Path
) -> tuple[ScoredEvaluation, ScoreFigures]:
    evaluation = replace(_opened(planned, folder), respondent=answers.stem)
    keys = _keys(datasets, planned.conditions.limit)
    by_id: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        by_id[key[1]].append(key)
    given = read_answers(answers, by_id)
    kept = Kept(folder / "predictions.jsonl")
    for dataset in datasets:
        for record in dataset.read():
            key = dataset.name, record.id
            if key in given:
                kept.add(predicted(dataset.name, record, given[key]))
            elif key in by_id[record.id]:
                kept.add(predicted(dataset.name, record, "", error="no prediction is given"))
    _store(evaluation, folder)
    return evaluation, _concluded(evaluation, kept.settle(keys), folder)


def _keys(datasets: Sequence[Dataset], limit: int) -> list[Key]:
    return [
        (dataset.name, record.id)
        for dataset in datasets
        for n, record in enumerate(dataset.read())
        if not limit or n < limit
    ]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MpaError(
            f"the folder {folder} can't be made ({error.strerror}): give another --out"
        ) from error
    with locked(folder):
        yield


def _opened(planned: ScoredEvaluation, folder: Path) -> ScoredEvaluation:
    stored = folder / "evaluation.json"
    if not stored.is_file():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise WrongState(f"{folder} is no evaluation and not empty: give another --out")
        _store(planned, folder)
        return planned
    return _same(planned, folder)


def is_finished(planned: ScoredEvaluation, folder: Path) -> bool:
    """Is this very evaluation done? Raises WrongState if the folder holds another one."""
    if not (folder / "figures.json").is_file():
        return False
    _same(planned, folder)
    return True


def _same(planned: ScoredEvaluation, folder: Path) -> ScoredEvaluation:
    """The evaluation in the folder. Raises WrongState if it isn't the planned one."""
    found = ScoredEvaluation.from_json((folder / "evaluation.json").read_text(encoding="utf-8"))
    before, now = ({"asked": one.asked, **asdict(one.conditions)} for one in (found, planned))
    if differing := [name for name in before if before[name] != now[name]]:
        raise WrongState(
            f"{folder} holds another evaluation (its {', '.join(differing)}): "
            "repeat its own command, or give another --out"
        )
    return found


def _store(evaluation: ScoredEvaluation, folder: Path) -> None:
    write_atomically(folder / "evaluation.json", evaluation.to_json())


def _concluded(
    evaluation: ScoredEvaluation, predictions: Sequence[Prediction], folder: Path
) -> ScoreFigures:
    found, _ = figures(predictions, evaluation.conditions.task, evaluation.conditions.metric)
    document = asdict(found)
    if found.interval:
        document["interval"].pop("expected")  # "official" is this figure
    content = json.dumps(document, indent=2, ensure_ascii=False)
    write_atomically(folder / "figures.json", content + "\n")
    write_atomically(folder / "report.md", "\n".join(lines(evaluation, found)) + "\n")
    return found


def stored(folder: Path) -> tuple[ScoredEvaluation, list[Prediction]]:
    """A finished evaluation. Raises NotFound, WrongState if it isn't finished."""
    if not (folder / "evaluation.json").is_file():
        raise NotFound(
            f"there is no evaluation in {folder}: "
            f"`mpa-orch datasets evaluate ... --out {folder}` makes one"
        )
    if not (folder / "figures.json").is_file():
        raise WrongState(f"the evaluation in {folder} isn't finished: repeat its command")
    evaluation = ScoredEvaluation.from_json(
        (folder / "evaluation.json").read_text(encoding="utf-8")
    )
    return evaluation, list(read_predictions(folder / "predictions.jsonl"))
