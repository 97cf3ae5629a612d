"""Training samples of an arm, from a run's records or from human labels.

No other arm ever reads the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from services.core.arms import Arm, choose
from services.core.errors import InvalidInput
from services.core.parity import Cell, Sample
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.regimen import draw
from services.orchestrator.datasets.checks import look, usable
from services.orchestrator.datasets.dataset import Dataset, images_of_dataset
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.experiments.experiment import LabelledSet, TaskEntry
from services.orchestrator.images.leaks import Leaks
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.run import read_run
from services.orchestrator.scoring.asking import picture_of
from services.orchestrator.steps.anchoring import draw_anchors
from services.orchestrator.steps.leveling import pictures
from services.rpc.client import Picture


@dataclass(frozen=True, slots=True)
class TrainingSamples:
    """Labels, and each of their images once.

    `reason`: why there are no samples, or "". `gap`: labels that are in the parity gap.
    `anchors`: image and question of each.
    """

    labels: Sequence[Label]
    images: Callable[[], Iterable[Callable[[], Picture]]] = tuple
    reason: str = ""
    gap: frozenset[Label] = frozenset()
    anchors: Sequence[tuple[str, str]] = ()


def of_run(
    folder: Path, arm: Arm, seed: int, epochs: int, anchor_questions: Sequence[str] = ()
) -> TrainingSamples:
    """Samples drawn from a run's records that aren't held out.

    There are none if the gap is below the recipe's minimum.
    """
    with read_run(folder) as run:
        all_records = list(run.ledger.records())
        task = run.settings.task
        source = run.find_images()
        least = run.settings.recipe.minimum_gap
        budget = run.settings.pixel_budget
    records = [record for record in all_records if not record.held_out]
    samples = {
        Sample(record.image_sha256, record.question, record.answer, record.cell): record.path
        for record in records
    }
    gap = frozenset(sample.label for sample in samples if sample.cell is Cell.GAP)
    if len(gap) < least:
        reason = f"the gap has {len(gap)} samples, and a training needs at least {least}"
        return TrainingSamples((), reason=reason)
    chosen = choose(arm, list(samples), seed, epochs)
    paths = {sample.image_sha256: samples[sample] for sample in chosen}
    images = [sample.image_sha256 for sample in chosen]
    return TrainingSamples(
        [sample.label for sample in chosen],
        partial(pictures, source, paths, budget),
        gap=gap,
        anchors=draw_anchors(arm.regimen, task, all_records, images, anchor_questions, seed),
    )


def of_labels(
    entry: TaskEntry,
    tests: Iterable[LabelledSet],
    arm: Arm,
    seed: int,
    budget: PixelBudget = UNLIMITED,
) -> TrainingSamples:
    """Human labels: the most frequent answer to questions whose image is in no test.

    The images are within the budget.

    Raises InvalidInput if there are too few.
    """
    assert entry.labels is not None
    leaks = Leaks(
        row
        for test in tests
        for dataset in test.datasets
        for row in usable(images_of_dataset(dataset))
    )
    all_records = ((dataset, one) for dataset in entry.labels.datasets for one in dataset.read())
    records = list(islice(all_records, entry.labels.limit or None))
    drawn = draw(records, _name, len(records), seed)
    labels: list[Label] = []
    images: dict[str, tuple[Dataset, LabelledRecord]] = {}
    wanted = round(arm.share * (arm.count or len(records)))
    for dataset, record, picture in _readable(drawn):
        if len(labels) == wanted:
            break
        answer = _most_given(record.answers)
        if answer and not leaks.find(*look(picture.data)):
            labels.append((picture.sha256, record.question, answer))
            images.setdefault(picture.sha256, (dataset, record))
    if len(labels) < wanted and arm.count:
        raise InvalidInput(
            f"{entry.name} has {len(labels)} labels whose images can be read and are in no test, "
            f"and {arm.name} takes {wanted}",
            field="labels",
        )
    return TrainingSamples(
        labels, lambda: (partial(_picture, *found, budget) for found in images.values())
    )


def _readable(
    records: Iterable[tuple[Dataset, LabelledRecord]],
) -> Iterator[tuple[Dataset, LabelledRecord, Picture]]:
    for dataset, record in records:
        picture = picture_of(dataset, record)
        if isinstance(picture, Picture):
            yield dataset, record, picture


def _picture(dataset: Dataset, record: LabelledRecord, budget: PixelBudget) -> Picture:
    found = picture_of(dataset, record, budget)
    if isinstance(found, str):
        raise InvalidInput(
            f"an image of {dataset.path} could be read earlier and can't now: {found}"
        )
    return found


def _most_given(answers: Sequence[str]) -> str:
    """The most frequent answer, the first of equals; "" if all are empty."""
    given = Counter(answer.strip() for answer in answers if answer.strip())
    return given.most_common(1)[0][0] if given else ""


def _name(item: tuple[Dataset, LabelledRecord]) -> str:
    dataset, record = item
    return f"{dataset.name}\n{record.id}"
