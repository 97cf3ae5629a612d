"""A labelled data set. Training and promotion never see it, so a run stays free of labels."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.core.tasks import TASKS
from services.orchestrator.datasets.formats import FORMATS, DatasetFormat, recognise
from services.orchestrator.datasets.images import ImageFolder
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.images.source import ImageItem


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file in one of the published formats; the file of questions if there are two."""

    path: Path
    format: DatasetFormat
    images: ImageFolder
    split: str = ""
    """Split of the records to read; "" for all."""

    @property
    def name(self) -> str:
        return self.path.stem

    def read(self) -> Iterator[LabelledRecord]:
        """All records. Raises InvalidInput that names the first faulty record and key, NotFound."""
        for found in self.try_read():
            if isinstance(found, InvalidInput):
                raise found
            yield found

    def try_read(self) -> Iterator[LabelledRecord | InvalidInput]:
        """All records, or the error of each that can't be read."""
        for fields in self.format.rows(self.path):
            try:
                record = self.format.record(fields)
            except InvalidInput as error:
                yield error
                continue
            if not self.split or record.split == self.split:
                yield record


def open_dataset(
    path: Path, format_name: str = "", images: Path | None = None, split: str = ""
) -> Dataset:
    """Open a data set. `images`: the folder of its images, if they aren't next to the file.

    Raises NotFound, InvalidInput.
    """
    if not path.is_file():
        raise NotFound(f"there is no data set {path}: name its file of questions and answers")
    if format_name and format_name not in FORMATS:
        raise InvalidInput(
            f"there is no format {format_name!r}: choose one of {', '.join(FORMATS)}",
            field="format",
        )
    if images is not None and not images.is_dir():
        raise NotFound(f"there is no folder of images {images}: name another with --images")
    found = FORMATS[format_name] if format_name else recognise(path)
    roots = [images] if images else [path.parent, path.parent.parent]
    return Dataset(path, found, ImageFolder(roots, found.folders), split)


def task_of(dataset: Dataset, task: str = "", *, is_needed: bool = True) -> str:
    """The named task, else the format's; "" only unless one `is_needed`. Raises InvalidInput."""
    if task and task not in TASKS:
        raise InvalidInput(
            f"there is no task {task!r}: choose one of {', '.join(TASKS)}", field="task"
        )
    found = task or dataset.format.task
    if not found and is_needed:
        raise InvalidInput(
            f"{dataset.path} doesn't state its task: name it with --task ({', '.join(TASKS)})",
            field="task",
        )
    return found


def images_of_dataset(dataset: Dataset) -> Generator[ImageItem]:
    """The images of a labelled set, each once."""
    seen = set()
    for record in dataset.read():
        name = record.image_name
        if name not in seen:
            seen.add(name)
            file = dataset.images.find(record.image) if record.image else None
            yield ImageItem(name, partial(_load, name, file, record.data))


def _load(name: str, file: Path | None, data: bytes) -> bytes:
    if file is None and not data:
        raise InvalidImage(f"there is no image {name}")
    return file.read_bytes() if file else data
