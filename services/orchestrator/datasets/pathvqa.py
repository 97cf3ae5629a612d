"""PathVQA (pvqa/qas/test_vqa.pkl, test_qa.pkl), or a JSON list of the same records.

[{"question_id", "img_id", "sent", "label": {answer: weight}}] or [{"image", "question", "answer"}].
Questions that are not answered by yes or no are left out, as in the paper (Table 7).
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.orchestrator.datasets.fields import Fields, objects, read_json
from services.orchestrator.datasets.record import LabelledRecord

YES_NO = frozenset({"yes", "no"})
KEEPING = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
"""Codes of a pickle that keep an object under a number."""


class _PlainData(pickle.Unpickler):
    """A reader of plain data, which names no class; a pickle that names one could run code."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which data never needs")


def rows(path: Path) -> Iterator[Fields]:
    found = _unpickle(path) if path.suffix == ".pkl" else read_json(path)
    if not isinstance(found, list):
        raise InvalidInput(f"{path.name} is no list of questions")
    for number, fields in enumerate(objects(found, path.name)):
        answer = _answer(fields)
        if not isinstance(answer, str) or answer.strip().lower() in YES_NO:
            yield fields.with_values(answer=answer, number=number)


def _unpickle(path: Path) -> object:
    try:
        data = path.read_bytes()
        _require_modest(data)
        found: object = _PlainData(BytesIO(data)).load()
        return found
    except OSError as error:
        raise NotFound(f"the data set {path} can't be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise InvalidInput(
            f"{path} is no pickle of plain data ({error}): download it again"
        ) from error


def _require_modest(data: bytes) -> None:
    """Raises UnpicklingError: a few bytes would take gigabytes, by the number of a kept object."""
    for code, argument, _ in pickletools.genops(data):
        if code.name in KEEPING and int(argument or 0) >= len(data):
            raise pickle.UnpicklingError(f"it keeps an object as number {argument:,}")


def _answer(fields: Fields) -> object:
    """The answer unchecked; None if there is none."""
    label = fields.values.get("label")
    return next(iter(label), None) if isinstance(label, dict) else fields.values.get("answer")


def record(fields: Fields) -> LabelledRecord:
    of_lxmert = "sent" in fields.values
    image = fields.name("img_id" if of_lxmert else "image")
    return LabelledRecord(
        fields.name("question_id" if fields.values.get("question_id") is not None else "number"),
        image if Path(image).suffix else f"{image}.jpg",
        fields.text("sent" if of_lxmert else "question"),
        (fields.text("answer"),),
        "yes/no",
    )
