"""Log of a training: losses, and scores on pictures that are never trained on, as JSON lines."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from zoo.families.lessons import TAUGHT, set_exercise
from zoo.families.pupil import Pupil
from zoo.minivqa.parts import Part
from zoo.packing import Packer

PARTS = (Part.TRAINING, Part.TEST)
"""Parts with entities that training shows, and with others."""
SEED = -1
"""Seed that no training and no benchmark uses, so that their pictures are not shown."""
_BATCH = 32


class Watch:
    """Collects losses and appends a line to `log` at every checkpoint."""

    def __init__(self, packer: Packer, log: Path, pictures: int) -> None:
        self._packer = packer
        self._log = log
        self._pictures = pictures
        self._losses: dict[str, list[float]] = defaultdict(list)
        self._since = time.monotonic()

    def note(self, losses: dict[str, float]) -> None:
        for family, loss in losses.items():
            self._losses[family].append(loss)

    def report(self, step: int, pupil: Pupil) -> None:
        """Log shares of right answers, by part, family and kind of question, and of right spots."""
        line: dict[str, Any] = {
            "step": step,
            "seconds": round(time.monotonic() - self._since),
            "loss": {family: round(fmean(losses), 4) for family, losses in self._losses.items()},
            **{
                part: {family: self._score(pupil, family, part) for family in self._losses}
                for part in PARTS
            },
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        kinds = {
            kind: ", ".join(
                f"{family} {' / '.join(str(line[part][family].get(kind, '-')) for part in PARTS)}"
                for family in line["loss"]
            )
            for kind in ("all", "spots")
        }
        print(
            f"{step} steps, {line['seconds']} s: right {kinds['all']}; spots {kinds['spots']}",
            flush=True,
        )
        self._losses.clear()
        self._since = time.monotonic()

    def _score(self, pupil: Pupil, family: str, part: Part) -> dict[str, float]:
        right: dict[str, list[bool]] = defaultdict(list)
        for first in range(0, self._pictures, _BATCH):
            pictures = [
                TAUGHT[family].draw(part, SEED, number)
                for number in range(first, min(first + _BATCH, self._pictures))
            ]
            questions = [question for picture in pictures for question in picture.questions]
            found, spots = pupil.find_right(set_exercise(self._packer, TAUGHT[family], pictures))
            right["spots"] += spots
            for question, is_right in zip(questions, found, strict=True):
                right[question.kind].append(is_right)
                right["all"].append(is_right)
        return {kind: round(fmean(seen), 3) for kind, seen in sorted(right.items())}
