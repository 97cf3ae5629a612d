"""Samples of what users ask the live version, kept on disk so that the next round can learn from them. Off unless asked for.

    DIR/20261124T021530.123456-4711/   a segment; the oldest is removed when the limit is reached
        samples.jsonl                  {"image": SHA256, "question", "answer", "version", "time"} on each line
        images/SHA256                  the bytes as they were sent, each image once in its segment

No request waits for it or fails by it: a thread writes, what it can't keep up with is dropped, and an error is logged. Nothing
tells who asked.
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
from pathlib import Path

from services.core.errors import InvalidInput
from services.engines.images import LoadedImage
from services.environment import Environment

_log = logging.getLogger(__name__)

WAITING = 64
SEGMENTS = 8
"""A segment is closed at this part of the limit, so about as much is lost when the oldest goes."""
SEGMENT = re.compile(r"\d{8}T\d{6}\.\d{6}-\d+")
"""What segments are called: nothing else in the folder is ever touched."""
BLOCK_BYTES = 4096
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """`folder` None keeps nothing. `rate`: the share of requests, 0 to 1. `max_bytes`: of all that is in the folder."""

    folder: Path | None = None
    rate: float = 0.01
    max_bytes: int = 2**30

    @staticmethod
    def from_environment(env: Environment) -> SampleSettings:
        """Raises InvalidInput: a rate that is no share, no room."""
        rate, max_gib = env.number("SAMPLE_RATE", 0.01), env.number("SAMPLES_MAX_GIB", 1.0)
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


@dataclass(frozen=True, slots=True)
class RequestSample:
    image: LoadedImage
    question: str
    answer: str
    version: str

    def line(self) -> bytes:
        fields = {
            "image": self.image.sha256,
            "question": self.question,
            "answer": self.answer,
            "version": self.version,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


class ProductionSamples:
    """Takes samples from the request path and leaves the writing to a thread. `dropped` counts those it had no time for."""

    def __init__(self, settings: SampleSettings) -> None:
        """Raises InvalidInput where the folder can't be used: better told at the start than never."""
        self._rate = settings.rate if settings.folder else 0.0
        self._waiting: queue.Queue[RequestSample | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        if settings.folder and self._rate:
            segments = _open(settings.folder, settings.max_bytes)
            self._thread = threading.Thread(
                target=self._work, args=(segments,), name="samples", daemon=True
            )
            self._thread.start()

    def offer(self, image: LoadedImage, question: str, answer: str, version: str) -> None:
        """Never waits and never raises."""
        if random.random() >= self._rate:
            return
        try:
            self._waiting.put_nowait(RequestSample(image, question, answer, version))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """What was taken is written first, for a few seconds."""
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
                is_troubled = False
            except OSError as error:
                if not is_troubled:
                    _log.warning("samples of requests can't be kept: %s", error)
                is_troubled = True
        segments.close()


class Segments:
    """The folder, for one writer: the segment that is being written, and how much each one takes. Oldest first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        earlier = sorted(path for path in folder.iterdir() if SEGMENT.fullmatch(path.name))
        self._sizes = {path: _size_bytes(path) for path in earlier}
        self._current: Path | None = None
        self._lines = -1

    def add(self, sample: RequestSample) -> None:
        """The image before the line that names it. Raises OSError; then the next sample begins a new segment."""
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
            # One write of a whole line: a reader finds it there or not. What a full disk cut off ends its segment.
            if os.write(self._lines, line) != len(line):
                raise OSError("only a part of a line could be written")
            self._sizes[current] += len(line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._lines >= 0:
            os.close(self._lines)
        self._current, self._lines = None, -1

    def _make_room(self, needed: int) -> Path:
        if (
            self._current is not None
            and self._sizes[self._current] + needed > self._max_bytes // SEGMENTS
        ):
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
            f"MPA_STUDENT_SAMPLES is {folder}: that can't be written ({error.strerror})",
            field="MPA_STUDENT_SAMPLES",
        ) from error


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _size_bytes(segment: Path) -> int:
    return 2 * BLOCK_BYTES + sum(
        _on_disk(file.stat().st_size) for file in segment.rglob("*") if file.is_file()
    )
