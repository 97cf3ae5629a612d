"""One model on one or several data sets: its folder, what defines it, and the way from questions to figures.

evaluation.json     conditions, who answered, leaks
predictions.jsonl   every question with its references and the answer, appended as they come
figures.json        the scores; report.md the same for people
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.core.decoding import Decoding
from services.core.errors import InvalidInput, NotFound, WrongState
from services.core.metrics import CORPUS_METRICS, METRICS
from services.core.tasks import TASKS
from services.files import write_atomically
from services.orchestrator.datasets.checks import Problem, check, pool_images
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.progress import Progress
from services.orchestrator.scoring.asking import Asking
from services.orchestrator.scoring.figures import Figures, figures
from services.orchestrator.scoring.predictions import Kept, Key, Prediction, predicted, read_answers, read_predictions
from services.orchestrator.scoring.respondents import Asked, respondent
from services.orchestrator.scoring.tokens import find_tokenizer

FORCIBLE = (Problem.LEAK, Problem.IMAGE, Problem.ANSWERS)
"""What an evaluation can be forced past: leaks are marked, questions without an image count as wrong."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set as it was when it was evaluated; `leaked`: how many of its images are in the pool."""

    name: str
    file: str
    sha256: str
    split: str
    leaked: int = 0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What makes two evaluations comparable. `limit`: questions of each data set, 0 for all."""

    task: str
    metric: str
    template: str
    max_new_tokens: int
    limit: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`respondent` for people; `by`: the weights or the fingerprint of the model, "" before its first answer."""

    asked: str
    conditions: Conditions
    respondent: str = ""
    by: str = ""

    @property
    def leaked(self) -> int:
        return sum(source.leaked for source in self.conditions.sources)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        fields = json.loads(text)
        conditions = fields.pop("conditions")
        sources = tuple(Source(**source) for source in conditions.pop("sources"))
        return cls(conditions=Conditions(sources=sources, **conditions), **fields)


def plan(
    datasets: Sequence[Dataset], task: str, asked: str, *, metric: str, template: str, limit: int, pool: str, force: bool
) -> Evaluation:
    """Checks the data sets. Raises InvalidInput: what is wrong with one, unless it can be and is forced; a wrong metric."""
    _require_metric(task, metric)
    if TASKS[task].metric in CORPUS_METRICS:
        find_tokenizer()  # or else it would be missed when all is paid for
    in_pool = pool_images(pool) if pool else None
    sources = []
    for dataset in datasets:
        found = check(dataset, task, in_pool)
        found.require_sound(str(dataset.path), besides=FORCIBLE if force else ())
        with dataset.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sources.append(Source(dataset.name, dataset.path.name, digest, dataset.split, len(found.leaked)))
    names = [source.name for source in sources]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"two data sets are named {repeated[0]}: evaluate them apart, or rename one")
    kind = TASKS[task]
    chosen = (metric or kind.metric, template or kind.answer_template, kind.max_new_tokens, limit)
    return Evaluation(asked, Conditions(task, *chosen, tuple(sources)))


def _require_metric(task: str, metric: str) -> None:
    """Raises InvalidInput for one that the task has no use for: captions aren't right or wrong, answers are no captions."""
    if not metric:
        return
    if metric not in METRICS and metric not in CORPUS_METRICS:
        raise InvalidInput(
            f"there is no metric {metric!r}: choose one of {', '.join([*METRICS, *CORPUS_METRICS])}", field="metric"
        )
    if (metric in CORPUS_METRICS) != (TASKS[task].metric in CORPUS_METRICS):
        raise InvalidInput(f"{metric} does not score {task}: its metric is {TASKS[task].metric}", field="metric")
    if metric == "yes_no_accuracy" and TASKS[task].metric != metric:
        raise InvalidInput(f"{metric} does not score {task}, whose answers are more than yes and no", field="metric")


async def evaluate(
    planned: Evaluation, datasets: Sequence[Dataset], asked: Asked, folder: Path, progress: Progress
) -> tuple[Evaluation, Figures]:
    """Repeated with the same folder, it asks only what has no answer yet.

    Raises WrongState where the folder holds another evaluation, or another model answers than before.
    """
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
                f"{folder} holds answers of another model ({evaluation.by[:12]}) than the one that answers now ({by[:12]}): "
                "ask that one, or give another --out"
            )

    try:
        if not all(map(kept.has, keys)):
            async with respondent(asked, progress) as model:
                evaluation = replace(evaluation, respondent=model.name)
                conditions = planned.conditions
                asking = Asking(model, conditions.template, Decoding(max_new_tokens=conditions.max_new_tokens), kept, claim)
                await asking.ask(datasets, len(keys), conditions.limit, progress)
        _store(evaluation, folder)
    finally:
        kept.close()
    return evaluation, _concluded(evaluation, kept.settle(keys), folder)


def take(planned: Evaluation, datasets: Sequence[Dataset], answers: Path, folder: Path) -> tuple[Evaluation, Figures]:
    """Scores predictions that somebody else made. What they leave out counts as wrong. Raises InvalidInput for unknown ids."""
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
        (dataset.name, record.id) for dataset in datasets for n, record in enumerate(dataset.read()) if not limit or n < limit
    ]


def _opened(planned: Evaluation, folder: Path) -> Evaluation:
    stored = folder / "evaluation.json"
    if not stored.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise WrongState(f"{folder} is no evaluation and not empty: give another --out")
        _store(planned, folder)
        return planned
    found = Evaluation.from_json(stored.read_text(encoding="utf-8"))
    before, now = ({"asked": one.asked, **asdict(one.conditions)} for one in (found, planned))
    if differing := [name for name in before if before[name] != now[name]]:
        raise WrongState(
            f"{folder} holds another evaluation (its {', '.join(differing)}): repeat its own command, or give another --out"
        )
    return found


def _store(evaluation: Evaluation, folder: Path) -> None:
    write_atomically(folder / "evaluation.json", evaluation.to_json())


def _concluded(evaluation: Evaluation, predictions: Sequence[Prediction], folder: Path) -> Figures:
    from services.orchestrator.scoring.report import lines

    found, _ = figures(predictions, evaluation.conditions.task, evaluation.conditions.metric)
    write_atomically(folder / "figures.json", json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
    write_atomically(folder / "report.md", "\n".join(lines(evaluation, found)) + "\n")
    return found


def stored(folder: Path) -> tuple[Evaluation, list[Prediction]]:
    """A finished evaluation. Raises NotFound, WrongState where it isn't finished."""
    if not (folder / "evaluation.json").is_file():
        raise NotFound(f"there is no evaluation in {folder}: `mpa-orch datasets evaluate ... --out {folder}` makes one")
    if not (folder / "figures.json").is_file():
        raise WrongState(f"the evaluation in {folder} isn't finished: repeat its command")
    evaluation = Evaluation.from_json((folder / "evaluation.json").read_text(encoding="utf-8"))
    return evaluation, list(read_predictions(folder / "predictions.jsonl"))
