"""Student stores with the versions that a row needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from benchmarks.questions import decoding
from services.core.contract import Contract
from services.student import canaries, reference
from services.student.manifest import Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore


def fill(folder: Path, checkpoints: Sequence[Path], model: str) -> None:
    """Fills the store in `folder`/store: v1, v2, ...; v1 is live and the parent of the others.

    Contracts fix the reply length of the random model. Checkpoints without canaries get some that
    tell them from v1.
    """
    contract = Contract(max_new_tokens=decoding(model).max_new_tokens)
    for number, checkpoint in enumerate(checkpoints):
        if number and not canaries.read(checkpoint):
            asyncio.run(
                reference.compute(
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
