"""ICDAR 2015, word recognition (Challenge4_Test_Task3_GT.txt, gt.txt).

Each line is the image of a cropped word and its text: `word_1.png, "JOINT"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.tasks import TASKS
from services.orchestrator.datasets.fields import Fields, read_text
from services.orchestrator.datasets.record import LabelledRecord

LINE = re.compile(r'(?P<image>[^,"]+?)\s*,\s*"(?P<word>.*)"')


def rows(path: Path) -> Iterator[Fields]:
    # Not splitlines, which also cuts at U+2028, and a word may hold that.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield Fields(f"{path.name}, line {number}", {"line": line.strip()})


def record(fields: Fields) -> LabelledRecord:
    line = fields.text("line")
    found = LINE.fullmatch(line)
    if found is None:
        raise InvalidInput(f'{fields.where}: {line[:60]!r} is not of the form word_1.png, "JOINT"')
    word = re.sub(r'\\(["\\])', r"\1", found["word"])
    if not word.strip():
        raise fields.fault("word", "is empty")
    return LabelledRecord(found["image"], found["image"], TASKS["ocr"].question, (word,), "word")
