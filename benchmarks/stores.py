"""Student stores made beforehand, with the versions that a row needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from benchmarks.questions import decoding
from services.core.contract import Contract
from services.student import canaries
from services.student.pointers import Pointers
from services.student.store import Origin, VersionStore


def fill(folder: Path, checkpoints: Sequence[Path], model: str) -> None:
    """A store in `folder`/store of these checkpoints as v1, v2, ...; v1 is live and the parent of the others.

    Contracts fix the length of replies for the random model. Checkpoints that have no canaries get them, told apart from v1.
    """
    contract = Contract(max_new_tokens=decoding(model).max_new_tokens)
    for number, checkpoint in enumerate(checkpoints):
        if number and not canaries.read(checkpoint):
            asyncio.run(
                canaries.compute(
                    checkpoint, contract, canaries.synthetic_questions(), parent=checkpoints[0]
                )
            )
    store = VersionStore(folder / "store")
    try:
        for number, checkpoint in enumerate(checkpoints):
            store.add(checkpoint, Origin(parent="v1" if number else ""), contract)
        store.point(Pointers(live="v1"))
    finally:
        store.close()
