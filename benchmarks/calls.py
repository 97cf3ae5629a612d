"""Calls that a run made to its models, read from its ledger; an engine alone can repeat them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from services.core.decoding import Decoding
from services.core.tasks import answer_prompt
from services.orchestrator.run.run import Run


@dataclass(frozen=True, slots=True)
class Call:
    """`image`: the file; `text`: the user turn."""

    image: str
    text: str
    decoding: Decoding

    def written(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def read(raw: dict[str, Any]) -> Call:
        return Call(raw["image"], raw["text"], Decoding(**raw["decoding"]))


def annotation_calls(run: Run) -> Iterator[Call]:
    """One call per reply, readable or not."""
    recipe = run.settings.recipe
    prompt = recipe.annotation_prompt(run.settings.the_task)
    for image, seed in run.ledger.read(
        "SELECT path, seed FROM annotations a "
        "JOIN images i ON i.sha256 = a.image_sha256 AND i.rejection = '' "
        "WHERE model_fingerprint != '' ORDER BY path, number, attempt"
    ):
        yield Call(_file(run, image), prompt, replace(recipe.annotation_decoding, seed=seed))


def answer_calls(run: Run, role: str) -> Iterator[Call]:
    recipe = run.settings.recipe
    for image, question in run.ledger.read(
        "SELECT path, question FROM answers a "
        "JOIN images i ON i.sha256 = a.image_sha256 AND i.rejection = '' "
        "WHERE role = ? ORDER BY path, question",
        role,
    ):
        yield Call(
            _file(run, image),
            answer_prompt(question, recipe.answer_template),
            recipe.answer_decoding,
        )


def _file(run: Run, image: str) -> str:
    return str(Path(run.settings.images) / image)
