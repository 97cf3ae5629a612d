"""Users' requests, as the student's service keeps them, and the run's own copy of their images.

DIR/SEGMENT/samples.jsonl    {"image": SHA256, "question", "answer", "version", "time"} per line
DIR/SEGMENT/images/SHA256    segments come and go while they are read

services/student/production.py writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.core.annotation import question_key
from services.core.errors import InvalidInput, NotFound
from services.files import write_atomically
from services.orchestrator.images.shrinking import shrunk
from services.orchestrator.run.ledger import PRODUCTION
from services.orchestrator.run.run import Run
from services.rpc.client import Picture


@dataclass(frozen=True, slots=True)
class Request:
    """A sampled request, with its image in the service's folder. `version` gave `answer`."""

    image: Path
    question: str
    answer: str
    version: str


def require_samples(folders: Sequence[Path]) -> None:
    """Raises NotFound if a folder isn't there."""
    for folder in folders:
        if not folder.is_dir():
            raise NotFound(
                f"there is no folder {folder}: give the one in MPA_STUDENT_SAMPLES "
                "of the student's service"
            )


def read_requests(folders: Sequence[Path]) -> dict[str, list[Request]]:
    """Requests by image, each question about it once, oldest first.

    Incomplete requests are skipped.
    """
    found: dict[str, dict[str, Request]] = {}
    for folder in folders:
        for segment in sorted(folder.glob("*/samples.jsonl")):
            for request in _read(segment):
                found.setdefault(request.image.name, {}).setdefault(
                    question_key(request.question), request
                )
    return {sha256: list(requests.values()) for sha256, requests in found.items()}


def _read(segment: Path) -> Iterator[Request]:
    try:
        with segment.open("rb") as lines:
            for line in lines:
                if request := _parse(line, segment.parent / "images"):
                    yield request
    except FileNotFoundError:
        return  # it has expired


def _parse(line: bytes, images: Path) -> Request | None:
    try:
        fields = json.loads(line)
        image, question, answer, version = (
            str(fields[name]) for name in ("image", "question", "answer", "version")
        )
    except (ValueError, KeyError, TypeError):
        return None
    return (
        Request(images / image, question, answer, version)
        if _is_sha256(image) and question.strip()
        else None
    )


def _is_sha256(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def keep(run: Run, image_sha256: str, requests: Sequence[Request]) -> bool:
    """Copies a sampled image into the run; False if it has expired or was never complete.

    The copy is the file that the user sent.
    """
    if _at(run, image_sha256).exists():
        return True
    for request in requests:
        with suppress(OSError):
            data = request.image.read_bytes()
            if hashlib.sha256(data).hexdigest() == image_sha256:
                write_atomically(_at(run, image_sha256), data)
                return True
    return False


def kept(run: Run, image_sha256: str) -> Picture:
    """The run's copy of an image, within the pixel budget.

    Raises InvalidInput if it is missing or has changed.
    """
    path = _at(run, image_sha256)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != image_sha256:
        raise InvalidInput(
            f"{path} is missing or has changed since this run stored it: start a new run"
        )
    return shrunk(Picture(image_sha256, data), run.settings.pixel_budget)


def _at(run: Run, image_sha256: str) -> Path:
    return run.folder / PRODUCTION / image_sha256
