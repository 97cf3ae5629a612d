"""All faults of a data set at once, before a model is asked anything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from services.core.errors import InvalidImage, InvalidInput
from services.core.metrics import yes_or_no
from services.core.tasks import TASKS
from services.engines.images import load_image, sha256
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.images.leaks import Leaks
from services.orchestrator.images.likeness import likeness
from services.orchestrator.images.opening import open_images
from services.orchestrator.images.source import ImageItem

EXAMPLES = 5


class Problem(StrEnum):
    """Kinds of faults, in the order in which they are shown."""

    SHAPE = "wrong shape"
    DUPLICATE = "duplicate id"
    ANSWERS = "number of answers"
    METRIC = "not for the task's metric"
    IMAGE = "missing image"
    LEAK = "image is in the pool"
    EMPTY = "nothing in it"


@dataclass(slots=True)
class Findings:
    """Content and faults of a data set; `faults` counts all, `examples` has the first of a kind."""

    records: int = 0
    images: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    faults: Counter[Problem] = field(default_factory=Counter)
    examples: dict[Problem, list[str]] = field(default_factory=lambda: defaultdict(list))
    leaked: set[str] = field(default_factory=set)

    def add(self, problem: Problem, detail: str) -> None:
        self.faults[problem] += 1
        if len(self.examples[problem]) < EXAMPLES:
            self.examples[problem].append(detail)

    def require_sound(self, name: str, *, besides: Iterable[Problem] = ()) -> None:
        """Check for faults other than `besides`. Raises InvalidInput with the first example."""
        allowed = set(besides)
        found = [problem for problem in Problem if self.faults[problem] and problem not in allowed]
        if not found:
            return
        said = f"{name} can't be used: {self.examples[found[0]][0]}"
        if self.faults.total() > 1:
            said += f" ({self.faults.total():,} faults: `mpa-orch datasets check` lists them)"
        raise InvalidInput(said, reason=_reason(found[0]))


def _reason(problem: Problem) -> str:
    return "EVALUATION_SET_LEAKS" if problem is Problem.LEAK else "BAD_DATASET"


def check(dataset: Dataset, task: str, pool: Leaks | None = None) -> Findings:
    """Check a data set for a task ("": for none), and for images of the `pool` to train on.

    Raises InvalidInput if the file as a whole is wrong, NotFound.
    """
    findings = Findings()
    ids: set[str] = set()
    for found in dataset.try_read():
        if isinstance(found, InvalidInput):
            findings.add(Problem.SHAPE, str(found))
            continue
        _count(found, findings)
        if found.id in ids:
            findings.add(Problem.DUPLICATE, f"id {found.id} appears more than once")
        ids.add(found.id)
        _check_answers(dataset, found, task, findings)
        _check_image(dataset, found, pool, findings)
    if not findings.records and not findings.faults:
        of_split = f" of split {dataset.split!r}" if dataset.split else ""
        findings.add(Problem.EMPTY, f"{dataset.path} holds no question{of_split}")
    return findings


def _count(record: LabelledRecord, findings: Findings) -> None:
    findings.records += 1
    findings.kinds[record.kind] += 1
    findings.splits[record.split] += 1


def _check_answers(dataset: Dataset, record: LabelledRecord, task: str, findings: Findings) -> None:
    given, expected = len(record.answers), dataset.format.answers
    if expected and given != expected:
        findings.add(
            Problem.ANSWERS,
            f"question {record.id} has {given} answers where {expected} are expected",
        )
    if task and TASKS[task].metric == "yes_no_accuracy" and not any(map(yes_or_no, record.answers)):
        findings.add(
            Problem.METRIC,
            f"question {record.id} is answered {record.answers[0]!r}, not by yes or no",
        )


def _check_image(
    dataset: Dataset, record: LabelledRecord, pool: Leaks | None, findings: Findings
) -> None:
    """Check each image once, for all questions about it."""
    name = record.image_name
    if name in findings.images:
        return
    findings.images.add(name)
    file = dataset.images.find(record.image) if record.image else None
    if record.image and file is None:
        findings.add(
            Problem.IMAGE,
            f"there is no image {record.image} of question {record.id}: "
            "name the folder of the images with --images",
        )
        return
    if pool is None:
        return
    data = file.read_bytes() if file else record.data
    if leak := pool.find(*look(data)):
        findings.leaked.add(name)
        findings.add(Problem.LEAK, f"the image of question {record.id} is in the pool: {leak}")


def pool_images(images: str) -> Leaks:
    """Every usable image of a pool. Raises NotFound."""
    return Leaks(usable(open_images(images).walk(lambda _: False)))


def usable(items: Iterable[ImageItem]) -> Iterator[tuple[str, str, bytes]]:
    """Key, sha256 and likeness of each usable image."""
    for item in items:
        with suppress(InvalidImage):
            image = load_image(item.load() if item.load else b"")
            yield item.key, image.sha256, likeness(image.pixels)


def look(data: bytes) -> tuple[str, bytes]:
    """Sha256 and likeness; b"" if it is no image."""
    try:
        return sha256(data), likeness(load_image(data).pixels)
    except InvalidImage:
        return sha256(data), b""
