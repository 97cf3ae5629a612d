"""Samples of users' requests to the live version, kept on disk for the next round. Off by default.

    DIR/20261124T021530.123456-4711/   a segment; the oldest is removed when the limit is reached
        samples.jsonl                  a JSON object on each line:
                                       {"image": SHA256, "question", "answer", "version", "time"},
                                       and "verdict" if somebody has judged the answer
        images/SHA256                  the image file as sent, once in each segment

Samples never delay a request or make it fail: a thread writes them, drops those that it has no time
for, and logs errors. Samples don't identify the caller.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import re
import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from services import metrics
from services.core.errors import InvalidInput
from services.engines.images import LoadedImage
from services.environment import Environment

_log = logging.getLogger(__name__)

WAITING = 64
SEGMENTS = 8
"""A segment is closed at this fraction of the limit, so removing the oldest loses about as much."""
SEGMENT = re.compile(r"\d{8}T\d{6}\.\d{6}-\d+")
"""Names of segments. Nothing else in the folder is ever touched."""
BLOCK_BYTES = 4096
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """Settings of the samples. A `folder` of None keeps none.

    `rate` is the sampled share of requests, 0 to 1; `max_bytes` the largest size of the folder.
    """

    folder: Path | None = None
    rate: float = 0.01
    max_bytes: int = 2**30

    @staticmethod
    def from_environment(env: Environment) -> SampleSettings:
        """Raises InvalidInput: the rate is outside 0 to 1, or the size is not above 0."""
        rate = env.number("SAMPLE_RATE", 0.01)
        max_gib = env.number("SAMPLES_MAX_GIB", 1.0)
        if not 0 <= rate <= 1:
            raise InvalidInput(
                f"{env.prefix}SAMPLE_RATE is {rate:g}: give a share from 0 to 1",
                field=f"{env.prefix}SAMPLE_RATE",
            )
        if not 0 < max_gib < float("inf"):
            raise InvalidInput(
                f"{env.prefix}SAMPLES_MAX_GIB is {max_gib:g}: give more than 0",
                field=f"{env.prefix}SAMPLES_MAX_GIB",
            )
        return SampleSettings(env.path("SAMPLES"), rate, int(max_gib * 2**30))


class Thumb(StrEnum):
    """A person's judgement of an answer."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class RequestSample:
    """One request of a user with its answer."""

    image: LoadedImage
    question: str
    answer: str
    version: str
    verdict: Thumb | None = None

    def line(self) -> bytes:
        fields = {
            "image": self.image.sha256,
            "question": self.question,
            "answer": self.answer,
            "version": self.version,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.verdict is not None:
            fields["verdict"] = str(self.verdict)
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


class ProductionSamples:
    """Queue of samples between requests and the writing thread. `dropped` counts lost samples."""

    def __init__(self, settings: SampleSettings) -> None:
        """Raises InvalidInput: the folder can't be written."""
        self._rate = settings.rate if settings.folder else 0.0
        self._waiting: queue.Queue[RequestSample | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        if settings.folder:
            segments = _open(settings.folder, settings.max_bytes)
            self._thread = threading.Thread(
                target=self._work, args=(segments,), name="samples", daemon=True
            )
            self._thread.start()

    @property
    def are_kept(self) -> bool:
        """Whether there is a folder for samples."""
        return self._thread is not None

    def offer(self, image: LoadedImage, question: str, answer: str, version: str) -> None:
        """Keep a sample at random, by the rate. It never waits and never raises."""
        if random.random() < self._rate:
            self._put(RequestSample(image, question, answer, version))

    def keep(
        self, image: LoadedImage, question: str, answer: str, version: str, verdict: Thumb
    ) -> bool:
        """Keep a judged answer, whatever the rate. It never waits; False: it is dropped."""
        return self.are_kept and self._put(RequestSample(image, question, answer, version, verdict))

    def _put(self, sample: RequestSample) -> bool:
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            self.dropped += 1
            metrics.SAMPLES.labels("dropped").inc()
            return False
        return True

    def close(self) -> None:
        """Write the waiting samples, for at most STOP_WITHIN_S seconds, and stop the thread."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=STOP_WITHIN_S)
        except queue.Full:
            return
        self._thread.join(STOP_WITHIN_S)

    def _work(self, segments: Segments) -> None:
        is_troubled = False
        while (sample := self._waiting.get()) is not None:
            try:
                segments.add(sample)
                metrics.SAMPLES.labels("kept").inc()
                is_troubled = False
            except OSError as error:
                metrics.SAMPLES.labels("failed").inc()
                if not is_troubled:
                    _log.warning("samples of requests can't be written: %s", error)
                is_troubled = True
        segments.close()


class Segments:
    """Writer of the folder, with the current segment and the size of each one."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        earlier = sorted(path for path in folder.iterdir() if SEGMENT.fullmatch(path.name))
        self._sizes = {path: _size_bytes(path) for path in earlier}
        self._current: Path | None = None
        self._lines = -1

    def add(self, sample: RequestSample) -> None:
        """Write the image, then the line that names it. After an OSError a new segment begins."""
        line = sample.line()
        needed = _on_disk(len(sample.image.data)) + len(line)
        if needed + 2 * BLOCK_BYTES > self._max_bytes:
            return
        try:
            current = self._make_room(needed)
            image = current / "images" / sample.image.sha256
            if not image.exists():
                beside = image.with_name(f".{image.name}")
                beside.write_bytes(sample.image.data)
                beside.replace(image)
                self._sizes[current] += _on_disk(len(sample.image.data))
            # One write for the line: a reader finds it whole or not at all. If a full disk cuts a
            # line off, its segment ends.
            if os.write(self._lines, line) != len(line):
                raise OSError("only part of a line could be written")
            self._sizes[current] += len(line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._lines >= 0:
            os.close(self._lines)
        self._current = None
        self._lines = -1

    def _make_room(self, needed: int) -> Path:
        limit = self._max_bytes // SEGMENTS
        if self._current is not None and self._sizes[self._current] + needed > limit:
            self.close()
        current = self._current or self._begin()
        while sum(self._sizes.values()) + needed > self._max_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            shutil.rmtree(oldest, ignore_errors=True)
            del self._sizes[oldest]
        return current

    def _begin(self) -> Path:
        name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}-{os.getpid()}"
        current = self._folder / name
        (current / "images").mkdir(parents=True)
        self._lines = os.open(
            current / "samples.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640
        )
        self._sizes[current] = 2 * BLOCK_BYTES
        self._current = current
        return current


def _open(folder: Path, max_bytes: int) -> Segments:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Segments(folder, max_bytes)
    except OSError as error:
        raise InvalidInput(
            f"MPA_STUDENT_SAMPLES is {folder}: it can't be written ({error.strerror}); "
            "give another folder",
            field="MPA_STUDENT_SAMPLES",
        ) from error


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _size_bytes(segment: Path) -> int:
    return 2 * BLOCK_BYTES + sum(
        _on_disk(file.stat().st_size) for file in segment.rglob("*") if file.is_file()
    )
