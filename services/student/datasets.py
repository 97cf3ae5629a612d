"""Datasets of the student: images named by their hash, sample lists by the hash of the list."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from services.core.errors import InvalidInput, MpaError, NotFound
from services.core.parity import WEIGHTS
from services.engines.image_decoder import ImageDecoder
from services.files import sync_folder, unfinished_path, write_atomically
from services.rpc.limits import check_answer, check_question

MAX_SAMPLES = 1_000_000
SHA256 = re.compile(r"[0-9a-f]{64}")
UPLOAD_DECODER = ImageDecoder(1)
"""Decoder for uploads only, so that images of requests never wait behind those of a dataset."""


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """Triple (I, Q, A) of Section 3.3; the image is named by its SHA-256."""

    image_sha256: str
    question: str
    answer: str
    weight: float = 1.0
    """Weight in the loss's mean over the samples of a step."""
    anchor: bool = False
    """Whether the base's own answer is kept; `answer` is empty until the base has given it."""

    def line(self) -> bytes:
        """The sample as a JSON line; usual values are not written, as in earlier releases.

        Raises InvalidInput: a bad question, answer or weight.
        """
        check_question(self.question)
        if not self.anchor:
            check_answer(self.answer)
        elif self.answer:
            raise InvalidInput(
                f"the anchor {self.question[:64]!r} of image {self.image_sha256[:12]} has an "
                "answer: leave it empty, since the base's own is kept",
                field="sample.answer",
            )
        least, most = WEIGHTS
        if not least <= self.weight <= most:
            raise InvalidInput(
                f"the sample {self.question[:64]!r} of image {self.image_sha256[:12]} has the "
                f"weight {self.weight:g}: give {least:g} to {most:,g}, or none for 1",
                field="sample.weight",
            )
        written = asdict(self)
        if self.weight == 1.0:
            del written["weight"]
        if not self.anchor:
            del written["anchor"]
        return json.dumps(written, ensure_ascii=False).encode() + b"\n"


class DatasetStore:
    """STORE/datasets/{images/<sha256>, <dataset>.jsonl}."""

    def __init__(self, root: Path, *, takes_tiff: bool = False) -> None:
        self.root = root / "datasets"
        self._takes_tiff = takes_tiff
        self._used: dict[str, float] = {}

    def image_path(self, sha256: str) -> Path:
        return self.root / "images" / sha256

    def path(self, name: str) -> Path:
        """Raises NotFound."""
        path = self.root / f"{name}.jsonl"
        if not SHA256.fullmatch(name) or not path.is_file():
            raise NotFound(
                f"there is no dataset {name[:64]!r}: upload it first", reason="DATASET_NOT_FOUND"
            )
        return path

    def names(self) -> list[str]:
        """Names of all datasets, the least recently used first."""
        found = [path for path in self.root.glob("*.jsonl") if SHA256.fullmatch(path.stem)]
        return [path.stem for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def add_image(self, data: bytes) -> str:
        """Raises InvalidImage."""
        image = UPLOAD_DECODER.load(data, takes_tiff=self._takes_tiff)
        path = self.image_path(image.sha256)
        if not path.is_file():
            write_atomically(path, data)
        return image.sha256

    def add(self, samples: Iterable[TrainingSample]) -> str:
        """Store samples as a dataset and return its name.

        Raises InvalidInput: no samples, an image that was not sent, an empty question or answer.
        """
        writer = DatasetWriter(self)
        try:
            for sample in samples:
                writer.add(sample)
            return writer.finish()
        finally:
            writer.abandon()

    def samples(self, name: str) -> list[TrainingSample]:
        """Read a dataset. Raises NotFound; InvalidInput: the file is damaged."""
        path = self.path(name)
        self.verify(name)
        with path.open("rb") as lines:
            return [TrainingSample(**json.loads(line)) for line in lines]

    def verify(self, name: str) -> None:
        """Check a dataset's hash; mark it as used now. Raises NotFound; InvalidInput: damaged."""
        path = self.path(name)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != name:
            raise InvalidInput(
                f"{path} is damaged: remove it, then upload the dataset again",
                reason="FILE_DAMAGED",
            )
        os.utime(path)
        self.note_use(name)

    def note_use(self, name: str) -> None:
        """Note that a dataset is used now, whatever date the clock shows."""
        self._used[name] = time.monotonic()

    def idle_s(self, name: str) -> float:
        """Seconds since the upload or last use of a dataset. Raises NotFound."""
        by_date = time.time() - self.path(name).stat().st_mtime
        used = self._used.get(name)
        return by_date if used is None else min(by_date, time.monotonic() - used)

    def images_of(self, name: str) -> Iterator[str]:
        """Image hash of each sample. Raises NotFound; ValueError: damaged."""
        with self.path(name).open("rb") as lines:
            for line in lines:
                yield str(json.loads(line)["image_sha256"])


class DatasetWriter:
    """Writer of one dataset. Each sample is checked and written at once; none is kept in memory."""

    def __init__(self, datasets: DatasetStore) -> None:
        self._datasets = datasets
        self._unfinished = unfinished_path(datasets.root / "upload")
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._has_answers = False
        self.samples = 0
        self.size_bytes = 0

    def add(self, sample: TrainingSample) -> None:
        """Write a sample. Raises InvalidInput; MpaError: the disk is full."""
        if self.samples == MAX_SAMPLES:
            raise InvalidInput(
                f"the dataset has more than {MAX_SAMPLES:,} samples: send it in parts",
                field="sample",
            )
        line = sample.line()
        image = sample.image_sha256
        if not SHA256.fullmatch(image) or not self._datasets.image_path(image).is_file():
            raise InvalidInput(
                f"image {image[:64]!r} of a sample was not sent: "
                "send images before the samples that name them",
                field="sample.image_sha256",
            )
        with self._on_disk():
            if self._file is None:
                self._datasets.root.mkdir(parents=True, exist_ok=True)
                self._file = self._unfinished.open("wb")
            self._file.write(line)
        self._digest.update(line)
        self._has_answers |= not sample.anchor
        self.samples += 1
        self.size_bytes += len(line)

    @property
    def name(self) -> str:
        """Name of the dataset of all samples so far."""
        return self._digest.hexdigest()

    @property
    def replaces_bytes(self) -> int:
        """Size of an existing copy of this dataset; 0 if there is none."""
        path = self._datasets.root / f"{self.name}.jsonl"
        return path.stat().st_size if path.is_file() else 0

    def flush(self) -> None:
        """Sync all samples to disk. Raises InvalidInput: no samples; MpaError: the disk is full."""
        if self._file is None:
            raise InvalidInput("the dataset has no samples", field="sample")
        if not self._has_answers:
            raise InvalidInput(
                "the dataset has nothing but anchors, from which nothing is learned: send samples "
                "with answers, too",
                field="sample.anchor",
            )
        with self._on_disk():
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self) -> str:
        """Complete the dataset and return its name. Raises the errors of `flush`."""
        self.flush()
        assert self._file is not None
        with self._on_disk():
            self._file.close()
            self._unfinished.replace(self._datasets.root / f"{self.name}.jsonl")
            sync_folder(self._datasets.root)
        self._datasets.note_use(self.name)
        return self.name

    def abandon(self) -> None:
        """Remove an unfinished file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._unfinished.unlink(missing_ok=True)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MpaError(
                f"{self._datasets.root} can't be written ({error.strerror}): "
                "free disk space or grant access, then repeat",
                reason="STORAGE_FAILED",
            ) from error
