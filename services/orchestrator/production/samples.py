"""What users asked the endpoint, as the student's service keeps it (services/student/production.py), and the run's own copy.

DIR/SEGMENT/samples.jsonl    {"image": SHA256, "question", "answer", "version", "time"} on each line
DIR/SEGMENT/images/SHA256    segments come and go while they are read
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
from services.orchestrator.run.ledger import PRODUCTION
from services.orchestrator.run.run import Run
from services.rpc.client import Picture


@dataclass(frozen=True, slots=True)
class Request:
    """A sampled request, its image still where the service keeps it. `version` answered `answer`."""

    image: Path
    question: str
    answer: str
    version: str


def require_samples(folders: Sequence[Path]) -> None:
    """Raises NotFound where a folder isn't there."""
    for folder in folders:
        if not folder.is_dir():
            raise NotFound(
                f"there is no folder {folder}: name what MPA_STUDENT_SAMPLES names for the student's service"
            )


def read_requests(folders: Sequence[Path]) -> dict[str, list[Request]]:
    """By image, each question about it once, oldest first. What can't be read is passed over: it was never whole."""
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
        return  # its time had come


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


def keep(run: Run, image_sha256: str, requests: Sequence[Request]) -> Picture | None:
    """A copy of a sampled image that the run can rely on; None where it is gone by now, or was never whole."""
    if _at(run, image_sha256).exists():
        return kept(run, image_sha256)
    for request in requests:
        with suppress(OSError):
            data = request.image.read_bytes()
            if hashlib.sha256(data).hexdigest() == image_sha256:
                write_atomically(_at(run, image_sha256), data)
                return Picture(image_sha256, data)
    return None


def kept(run: Run, image_sha256: str) -> Picture:
    """Raises InvalidInput where the run's copy is gone or another by now."""
    path = _at(run, image_sha256)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != image_sha256:
        raise InvalidInput(
            f"{path} is gone or has changed since this run put it there: start a new run"
        )
    return Picture(image_sha256, data)


def _at(run: Run, image_sha256: str) -> Path:
    return run.folder / PRODUCTION / image_sha256
