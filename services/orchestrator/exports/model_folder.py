"""A version's files, as a student has sent them, become a model folder of the hub."""

from __future__ import annotations

from pathlib import Path

from services.core.errors import InvalidInput
from services.engines import checkpoint
from services.orchestrator.exports.model_card import model_card
from services.rpc.client import StudentVersion

CARD = "README.md"


def complete(folder: Path, version: StudentVersion) -> None:
    """Check the weights, and add a card if the version has none: it was never promoted by a run.

    Raises InvalidInput: the folder holds no model, or not the weights of the version.
    """
    checkpoint.check(folder)
    found = checkpoint.weights_sha256(folder)
    if found != version.weights_sha256:
        raise InvalidInput(
            f"the weights of {version.name} have arrived with sha256 {found[:12]}..., its manifest "
            f"states {version.weights_sha256[:12]}...: repeat the command"
        )
    if not (folder / CARD).is_file():
        (folder / CARD).write_text(model_card(version), encoding="utf-8")
