"""Labelled sets that measure a run's versions (--eval), in any published format (`datasets/`)."""

from __future__ import annotations

from pathlib import Path

from services.core.errors import InvalidInput
from services.orchestrator.datasets.dataset import Dataset, open_dataset
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.images.folder import Folder
from services.orchestrator.images.source import Source
from services.orchestrator.images.store import open_store
from services.orchestrator.steps.questioning import Case


def labelled_images(path: Path) -> Source:
    """Images that the evaluation set at `path` names, relative to it."""
    return Folder(open_store(str(path.absolute().parent)))


def read_labelled(path: Path) -> list[Case]:
    """Records of the labelled set at `path`.

    Raises NotFound, or InvalidInput that names a wrong record and its key.
    """
    dataset = open_dataset(path)
    cases = [_case(dataset, record) for record in dataset.read()]
    if not cases:
        raise InvalidInput(f"the evaluation set {path} is empty: it holds no question")
    return cases


def _case(dataset: Dataset, record: LabelledRecord) -> Case:
    if record.data:
        raise InvalidInput(
            f"{dataset.path} contains its images: "
            "`mpa-orch datasets evaluate` measures on such a set"
        )
    file = dataset.images.find(record.image)
    root = dataset.path.parent
    is_below = file is not None and file.is_relative_to(root)
    image = file.relative_to(root).as_posix() if file is not None and is_below else record.image
    return Case(image, "", record.question, record.answers, record.kind)
