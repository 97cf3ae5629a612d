"""Losses of a training's samples: the mean over the tokens of each answer, in each epoch.

STORE/jobs/<id>/sample_losses.<rank>    values that one process of the trainer has met

Each process writes its file with every checkpoint and at the end, so a resumed training goes on
from values that are as old as its weights. A file is a line of JSON, then epochs after each other.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import write_atomically

PREFIX = "sample_losses."
UNKNOWN = math.nan
FORMAT = "mpa-sample-losses-1"


@dataclass(frozen=True, slots=True)
class SampleLosses:
    """A value for each sample in each epoch; NaN if it is not known."""

    epochs: int
    samples: int
    values: array[float]

    @staticmethod
    def unknown(epochs: int, samples: int) -> SampleLosses:
        return SampleLosses(epochs, samples, array("f", [UNKNOWN]) * (epochs * samples))

    def note(self, epoch: int, sample: int, loss: float) -> None:
        """Keeps a value. `epoch` and `sample` are counted from 0."""
        self.values[epoch * self.samples + sample] = loss

    def of(self, sample: int) -> list[float]:
        """The values of a sample, by epoch."""
        return self.values[sample :: self.samples].tolist()

    def write(self, folder: Path, rank: int = 0) -> None:
        values = self.values[:]
        if sys.byteorder == "big":
            values.byteswap()
        head = {"format": FORMAT, "epochs": self.epochs, "samples": self.samples}
        write_atomically(
            folder / f"{PREFIX}{rank}", json.dumps(head).encode() + b"\n" + values.tobytes()
        )


def read_losses(folder: Path) -> SampleLosses | None:
    """The losses of the job in `folder`, of all its processes; None if it kept none.

    Raises InvalidInput: a file is damaged.
    """
    return _joined(map(_read, sorted(folder.glob(f"{PREFIX}*"))))


def remove_losses(folder: Path) -> None:
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink(missing_ok=True)


def resumed(folder: Path, rank: int, epochs: int, samples: int) -> SampleLosses:
    """The losses to go on from; unknown ones if the process has no file of this training."""
    try:
        known = _read(folder / f"{PREFIX}{rank}")
    except InvalidInput:
        return SampleLosses.unknown(epochs, samples)
    if (known.epochs, known.samples) != (epochs, samples):
        return SampleLosses.unknown(epochs, samples)
    return known


def _joined(parts: Iterable[SampleLosses]) -> SampleLosses | None:
    """Parts of several processes as one: each has met other samples."""
    joined: SampleLosses | None = None
    for part in parts:
        if joined is None or len(joined.values) != len(part.values):
            joined = part
            continue
        for place, value in enumerate(part.values):
            if not math.isnan(value):
                joined.values[place] = value
    return joined


def _read(path: Path) -> SampleLosses:
    """Raises InvalidInput: there is no such file, or it is damaged."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        known = json.loads(head)
        values = array("f")
        values.frombytes(data)
        if sys.byteorder == "big":
            values.byteswap()
        found = SampleLosses(int(known["epochs"]), int(known["samples"]), values)
        is_whole = known["format"] == FORMAT and len(values) == found.epochs * found.samples
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"the losses of samples in {path} can't be read ({error}): they are only shown to "
            "people, so remove the file"
        ) from error
    if not is_whole or found.epochs < 1:
        raise InvalidInput(f"{path} holds no whole losses of samples: remove the file")
    return found
