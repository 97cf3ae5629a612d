"""VLMEvalKit TSV with a header.

Columns are `index`, `question`, `answer` and `image` (base64, or the index of a row that has it) or
`image_path`. Options A to H are added to the question; `split` and `category` are read.
"""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from services.core.errors import InvalidInput, NotFound
from services.core.questions import question_kind
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.datasets.record import LabelledRecord

LONGEST_INDEX = 64
"""A shorter `image` is the index of another row, by VLMEvalKit's own rule."""
NOTHING = frozenset({"", "nan"})
"""Texts that pandas writes and reads for a missing value."""


def rows(path: Path) -> Iterator[Fields]:
    """All rows, one in memory at a time; images that other rows refer to are on disk."""
    referred = {
        row["image"] for _, row in _read(path) if 0 < len(row.get("image", "")) <= LONGEST_INDEX
    }
    with TemporaryFile() as images:
        places: dict[str, tuple[int, int]] = {}
        for _, row in _read(path) if referred else ():
            if row["index"] in referred:
                places[row["index"]] = images.tell(), images.write(row.get("image", "").encode())
        for number, row in _read(path):
            image = row.get("image", "")
            if image in places:
                start, length = places[image]
                images.seek(start)
                image = images.read(length).decode()
            yield Fields(f"{path.name}, row {number}", {**row, "image": image})


def _read(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(sys.maxsize)  # an image is one field
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", strict=True)
            missing = {"index", "question", "answer"} - set(reader.fieldnames or ())
            if missing:
                raise InvalidInput(
                    f"{path} has no column {', '.join(sorted(missing))}: "
                    "it is no VLMEvalKit TSV with answers"
                )
            for number, row in enumerate(reader, 1):
                named = {key: value or "" for key, value in row.items() if isinstance(key, str)}
                yield number, named
    except OSError as error:
        raise NotFound(f"the data set {path} can't be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is no TSV ({error})") from error


def record(fields: Fields) -> LabelledRecord:
    for key in ("question", "answer"):
        if fields.text(key).strip().lower() in NOTHING:
            raise fields.fault(key, "is NaN")
    question = fields.text("question")
    options = [
        f"{letter}. {fields.text(letter)}"
        for letter in "ABCDEFGH"
        if str(fields.values.get(letter) or "").strip()
    ]
    path = str(fields.values.get("image_path") or "")
    return LabelledRecord(
        fields.name("index"),
        path,
        "\n".join([question, *options]),
        _answers(fields),
        str(fields.values.get("category") or "") or question_kind(question),
        str(fields.values.get("split") or ""),
        b"" if path else _image(fields),
    )


def _answers(fields: Fields) -> tuple[str, ...]:
    """The answer: one text, or a list in Python's notation."""
    answer = fields.text("answer")
    if not answer.startswith("["):
        return (answer,)
    try:
        listed = ast.literal_eval(answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # as many signs raise
        return (answer,)
    if not isinstance(listed, list):
        return (answer,)
    return fields.with_values(answer=listed).texts("answer")


def _image(fields: Fields) -> bytes:
    encoded = fields.text("image")
    if len(encoded) <= LONGEST_INDEX:
        raise fields.fault("image", f"is {encoded!r}: no row has that index")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.fault("image", f"is no base64 ({error})") from error
