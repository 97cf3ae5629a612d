"""Predictions as they are kept: a line of JSON each, appended as it comes, so that nothing is asked twice."""

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
    """One question of a data set with its references and what was answered. `error`: why there is no answer, or "".

    Tokens, and dollars by the price table, of this one answer.
    """

    dataset: str
    id: str
    image: str
    question: str
    answers: tuple[str, ...]
    kind: str
    split: str
    prediction: str
    finish_reason: str = ""
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

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
    image = record.image or f"inside {dataset}"
    asked = (dataset, record.id, image, record.question, record.answers, record.kind, record.split)
    spent = (usage.prompt_tokens, usage.completion_tokens, usage.cost_usd)
    return Prediction(*asked, prediction, finish_reason, error, *spent)


class Kept:
    """The file of predictions: what it holds already, and room for more. Of two with one key the later one stands."""

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
        """Is there an answer? What failed is asked again."""
        found = self.standing.get(key)
        return found is not None and not found.error

    def close(self) -> None:
        self._file.close()

    def settle(self, keys: Iterable[Key]) -> list[Prediction]:
        """Puts the file into the order of `keys`, one line each."""
        self.close()
        ordered = [self.standing[key] for key in keys]
        write_atomically(self.path, "".join(map(_line, ordered)))
        return ordered


def _line(prediction: Prediction) -> str:
    return json.dumps(asdict(prediction), ensure_ascii=False) + "\n"


def _cut_torn_line(path: Path) -> None:
    """What a kill left of the last line goes."""
    if path.is_file():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Raises InvalidInput that names the line and the key that is wrong, NotFound."""
    for fields in _lines(path):
        answers = fields.texts("answers")
        texts = {
            name: _text(fields, name)
            for name in ("prediction", "finish_reason", "error", "split", "kind")
        }
        yield Prediction(
            *(
                fields.text("dataset"),
                fields.name("id"),
                fields.text("image"),
                fields.text("question"),
                answers,
            ),
            *(
                texts["kind"],
                texts["split"],
                texts["prediction"],
                texts["finish_reason"],
                texts["error"],
            ),
            *(
                fields.number("prompt_tokens"),
                fields.number("completion_tokens"),
                fields.real("cost_usd"),
            ),
        )


def read_answers(path: Path, ids: Mapping[str, Sequence[Key]]) -> dict[Key, str]:
    """Somebody else's predictions: {"id", "prediction", optional "dataset"} a line. `ids`: the keys that go by each id.

    Raises InvalidInput for an id that is unknown, there twice, or in several data sets where none is named.
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
                f'{name!r} is in several data sets ({listed}): add a key "dataset" that says which is meant',
            )
        if keys[0] in found:
            raise fields.fault("id", f"{name!r} is there more than once")
        found[keys[0]] = _text(fields, "prediction")
    return found


def _text(fields: Fields, key: str) -> str:
    """It may be empty: a model can say nothing."""
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
