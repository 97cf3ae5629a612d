"""Parity sets as the student received them: images by hash, samples by the hash of their list."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.engines.image_decoder import DECODER
from services.files import write_atomically
from services.rpc.limits import check_question


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """(I, Q, A) of Section 3.3, the image by its SHA-256."""

    image_sha256: str
    question: str
    answer: str


class DatasetStore:
    """STORE/datasets/{images/<sha256>, <dataset>.jsonl}."""

    def __init__(self, root: Path, *, takes_tiff: bool = False) -> None:
        self._root = root / "datasets"
        self._takes_tiff = takes_tiff

    def image_path(self, sha256: str) -> Path:
        return self._root / "images" / sha256

    def add_image(self, data: bytes) -> str:
        """Raises InvalidImage."""
        image = DECODER.load(data, takes_tiff=self._takes_tiff)
        path = self.image_path(image.sha256)
        if not path.is_file():
            write_atomically(path, data)
        return image.sha256

    def add(self, samples: list[TrainingSample]) -> str:
        """Returns the dataset's name. Raises InvalidInput: no samples, an image not sent, an empty question or answer."""
        if not samples:
            raise InvalidInput("the dataset has no samples", field="sample")
        for sample in samples:
            check_question(sample.question)
            if not sample.answer.strip():
                raise InvalidInput(f"the answer to {sample.question!r} is empty", field="sample.answer")
            if not sample.image_sha256.isalnum() or not self.image_path(sample.image_sha256).is_file():
                raise InvalidInput(f"image {sample.image_sha256[:64]!r} of a sample was not sent", field="sample.image_sha256")
        text = "".join(json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples)
        name = hashlib.sha256(text.encode()).hexdigest()
        write_atomically(self._root / f"{name}.jsonl", text)
        return name

    def samples(self, name: str) -> list[TrainingSample]:
        """Raises NotFound."""
        path = self._root / f"{name}.jsonl"
        if not name.isalnum() or not path.is_file():
            raise NotFound(f"there is no dataset {name[:64]!r}: upload it first", reason="DATASET_NOT_FOUND")
        return [TrainingSample(**json.loads(line)) for line in path.read_text().splitlines()]
