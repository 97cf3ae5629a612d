"""The records of an export, ordered by image, with their images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import WrongState
from services.core.parity import Cell
from services.core.reviews import ReviewState
from services.core.tasks import answer_prompt
from services.orchestrator.images.reading import read_again
from services.orchestrator.run.columns import Value, columns
from services.orchestrator.run.entries import Entry, read_entries
from services.orchestrator.run.ledger.search import Filter, is_listed, list_questions
from services.orchestrator.run.progress import Meter
from services.orchestrator.run.run import PARITY_SET, Run

PARITY_SET_ALONE = Filter(listed=True)
USABLE = Filter(usable=True)
EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class ExportedSample:
    """A usable annotation. `answer`: its label, which people may have corrected."""

    entry: Entry
    question: str
    answer: str

    @property
    def image_sha256(self) -> str:
        return self.entry.image.sha256

    @property
    def key(self) -> str:
        """A name that is unique in the run, and fit for a file."""
        assert self.entry.annotation is not None
        return f"{self.image_sha256}-{self.entry.annotation.number}"


class ExportedSamples:
    """The records of `run` that `chosen` selects. At most one image is in memory."""

    def __init__(self, run: Run, chosen: Filter, meter: Meter) -> None:
        self.run = run
        self._chosen = chosen
        self._meter = meter
        self._source = run.find_images()
        self._last = ("", b"")
        self._corrections = _list_parity_set(run, is_needed=chosen.listed)

    def entries(self) -> Iterator[Entry]:
        """All chosen records, rejected ones included."""
        for entry in read_entries(self.run.ledger, self._chosen):
            self._meter.advance(by=int(entry.annotation is not None))
            yield entry

    def usable(self) -> Iterator[ExportedSample]:
        for entry in self.entries():
            if sample := self._sample(entry):
                yield sample

    def trainable(self) -> Iterator[ExportedSample]:
        """Usable records whose image isn't held out: held-out images judge the student."""
        return (sample for sample in self.usable() if not sample.entry.image.held_out)

    def every_trainable(self) -> Iterator[tuple[ExportedSample, bool]]:
        """All trainable records of the run, each with whether it was chosen."""
        for entry in read_entries(self.run.ledger, USABLE):
            if (sample := self._sample(entry)) and not entry.image.held_out:
                is_chosen = self._is_chosen(entry)
                self._meter.advance(by=int(is_chosen))
                yield sample, is_chosen

    def _sample(self, entry: Entry) -> ExportedSample | None:
        row = entry.annotation
        if row is None or row.rejection:
            return None
        answer = self._corrections.get((row.image_sha256, row.question), row.answer)
        return ExportedSample(entry, row.question, answer)

    def _is_chosen(self, entry: Entry) -> bool:
        if self._chosen.listed:
            return self.is_in_parity_set(entry)
        return not self._chosen.cells or entry.cell in self._chosen.cells

    def is_in_parity_set(self, entry: Entry) -> bool:
        if entry.annotation is None or entry.annotation.rejection:
            return False
        return is_listed(self.run.ledger, entry.image.sha256, entry.annotation.question)

    def columns(self, entry: Entry) -> dict[str, Value]:
        """The whole provenance of a record, by column."""
        settings = self.run.settings
        of_run: dict[str, Value] = {
            "run": self.run.id,
            "task": settings.task,
            "recipe": settings.recipe.name,
            "round": self.run.ledger.round,
        }
        return {**columns(entry, settings), "in_parity_set": self.is_in_parity_set(entry), **of_run}

    def prompt(self, sample: ExportedSample) -> str:
        """The training prompt: the question in the recipe's template."""
        return answer_prompt(sample.question, self.run.settings.recipe.training_template)

    def image(self, sample: ExportedSample) -> bytes:
        """The bytes of the image. Raises InvalidInput if it is missing or changed since the run."""
        if self._last[0] != sample.image_sha256:
            picture = read_again(self._source, sample.entry.image.path, sample.image_sha256)
            self._last = (picture.sha256, picture.data)
        return self._last[1]


def choose(cells: list[Cell], everything: bool) -> Filter:
    """The filter of an export: the parity set, unless cells or everything are wanted."""
    if everything:
        return EVERYTHING
    return Filter(cells=tuple(dict.fromkeys(cells))) if cells else PARITY_SET_ALONE


def _list_parity_set(run: Run, *, is_needed: bool) -> dict[tuple[str, str], str]:
    """List the parity set in a temporary table, which SQLite keeps on disk.

    Returns the answers that people have corrected, by image and question.
    Raises WrongState if it is needed and there is none yet.
    """
    path = run.folder / PARITY_SET
    is_there = run.state.parity_set is not None and path.is_file()
    if is_needed and not is_there:
        raise WrongState(
            f"the run in {run.folder} has no parity set yet: "
            f"`mpa-orch identify {run.folder}` makes it; --cell and --all export what there is"
        )
    corrections: dict[tuple[str, str], str] = {}
    questions = _read_parity_set(path, corrections) if is_there else ()
    list_questions(run.ledger, questions)
    return corrections


def _read_parity_set(
    path: Path, corrections: dict[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    """Image and question of each sample; `corrections` takes the answers that were corrected."""
    with path.open() as lines:
        for line in lines:
            sample = json.loads(line)
            label = sample["sha256"], sample["question"]
            if sample.get("reviewed") == ReviewState.CORRECTED:
                corrections[label] = sample["answer"]
            yield label
