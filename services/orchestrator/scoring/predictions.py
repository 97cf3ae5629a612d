"""Stored predictions: a line of JSON each, appended at once, so that nothing is asked twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.core.usage import NO_USAGE, Usage
from services.files import write_atomically
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.datasets.record import LabelledRecord

Key = tuple[str, str]
"""Data set and id."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question of a data set with its references and the model's answer."""

    dataset: str
    """Name of the data set."""
    id: str
    """Id of the question in its data set."""
    image: str
    """Name of the image."""
    question: str
    """Text of the question."""
    answers: tuple[str, ...]
    """References."""
    kind: str
    """Kind of question."""
    split: str
    """Split of the data set, or ""."""
    prediction: str
    """The model's answer."""
    finish_reason: str = ""
    """Why the answer ended."""
    error: str = ""
    """Why there is no answer, or ""."""
    prompt_tokens: int = 0
    """Tokens of the prompt."""
    completion_tokens: int = 0
    """Tokens of the answer."""
    cost_usd: float = 0.0
    """Cost in dollars by the price table."""

    @property
    def key(self) -> Key:
        return self.dataset, self.id


def predicted(
    dataset: str,
    record: LabelledRecord,
    prediction: str,
    finish_reason: str = "",
    error: str = "",
    usage: Usage = NO_USAGE,
) -> Prediction:
    return Prediction(
        dataset=dataset,
        id=record.id,
        image=record.image_name,
        question=record.question,
        answers=record.answers,
        kind=record.kind,
        split=record.split,
        prediction=prediction,
        finish_reason=finish_reason,
        error=error,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
    )


class Kept:
    """The file of predictions, read and appended to. Of two with one key the later one counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self.standing = (
            {found.key: found for found in read_predictions(path)} if path.is_file() else {}
        )
        self._file = path.open("a", encoding="utf-8")

    def add(self, prediction: Prediction) -> None:
        self._file.write(_line(prediction))
        self._file.flush()
        self.standing[prediction.key] = prediction

    def has(self, key: Key) -> bool:
        """Is there an answer? A failed question is asked again."""
        found = self.standing.get(key)
        return found is not None and not found.error

    def close(self) -> None:
        self._file.close()

    def settle(self, keys: Iterable[Key]) -> list[Prediction]:
        """Rewrite the file in the order of `keys`, one line each."""
        self.close()
        ordered = [self.standing[key] for key in keys]
        write_atomically(self.path, "".join(map(_line, ordered)))
        return ordered


def _line(prediction: Prediction) -> str:
    return json.dumps(asdict(prediction), ensure_ascii=False) + "\n"


def _cut_torn_line(path: Path) -> None:
    """Remove a last line that a kill left unfinished."""
    if path.is_file():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Stored predictions. Raises InvalidInput that names the wrong line and key, NotFound."""
    for fields in _lines(path):
        yield Prediction(
            dataset=fields.text("dataset"),
            id=fields.name("id"),
            image=fields.text("image"),
            question=fields.text("question"),
            answers=fields.texts("answers"),
            kind=_text(fields, "kind"),
            split=_text(fields, "split"),
            prediction=_text(fields, "prediction"),
            finish_reason=_text(fields, "finish_reason"),
            error=_text(fields, "error"),
            prompt_tokens=fields.number("prompt_tokens"),
            completion_tokens=fields.number("completion_tokens"),
            cost_usd=fields.real("cost_usd"),
        )


def read_answers(path: Path, ids: Mapping[str, Sequence[Key]]) -> dict[Key, str]:
    """Predictions of another program, a line of {"id", "prediction", optional "dataset"} each.

    `ids`: the keys by id. Raises InvalidInput for an id that is unknown or repeated, or that is in
    several data sets without naming one.
    """
    found: dict[Key, str] = {}
    for fields in _lines(path):
        name = fields.name("id")
        keys = [key for key in ids.get(name, ()) if fields.get("dataset") in ("", key[0])]
        if not keys:
            raise fields.fault("id", f"is {name!r}, and no question has that id")
        if len(keys) > 1:
            listed = ", ".join(dataset for dataset, _ in keys)
            raise fields.fault(
                "id",
                f"{name!r} is in several data sets ({listed}): "
                'add a key "dataset" that names one of them',
            )
        if keys[0] in found:
            raise fields.fault("id", f"{name!r} appears more than once")
        found[keys[0]] = _text(fields, "prediction")
    return found


def _text(fields: Fields, key: str) -> str:
    """A text that may be empty: a model can say nothing."""
    value = fields.values.get(key)
    return value if isinstance(value, str) and not value.strip() else fields.text(key)


def _lines(path: Path) -> Iterator[Fields]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parsed(f"{path.name}, line {number}", line)
    except OSError as error:
        raise NotFound(f"the predictions {path} can't be read: {error.strerror}") from error


def _parsed(where: str, line: str) -> Fields:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{where}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise InvalidInput(f'{where}: no object with "id" and "prediction"')
    return Fields(where, found)
