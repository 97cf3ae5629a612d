"""Which images of the pool are used: each goes into the ledger as accepted, as refused with its reason, or as a duplicate."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice

from services.core.errors import InvalidInput
from services.core.parity import is_held_out
from services.orchestrator.images.reading import Accepted, Refused
from services.orchestrator.images.source import Item, Source
from services.orchestrator.ledger import ImageRow, Ledger
from services.orchestrator.run import Run
from services.rpc.client import Picture


def unfinished(run: Run, source: Source, step: int) -> Generator[Item]:
    """The images of the run; those that have come as far as `step`, or were refused, need no reading.

    Reads the ledger over a connection of its own, so that any one thread may go through it.
    """
    ledger = Ledger(run.folder / "ledger.sqlite", read_only=True)
    try:
        yield from islice(source.walk(lambda path: ledger.is_finished(path, step)), run.settings.limit or None)
    finally:
        ledger.close()


def admit(run: Run, found: Accepted | Refused) -> Picture | None:
    """The picture to be annotated; None where there is none. To be called in the order of the pool: the first of two alike
    stays.

    Raises InvalidInput where the file is another than the ledger knows.
    """
    ledger, path = run.ledger, found.path
    if isinstance(found, Refused):
        ledger.add_image(ImageRow(path, found.sha256, found.reason, found.detail))
        return None
    sha256, known = found.picture.sha256, ledger.image(path)
    if known is not None and known.sha256 != sha256:
        raise InvalidInput(f"{path} has changed since this run saw it: put it back, or start a new run")
    if known is None and ledger.is_accepted(sha256):
        ledger.add_image(ImageRow(path, sha256, "duplicate", "the same bytes as an earlier image"))
        return None
    if known is None:
        ledger.add_image(ImageRow(path, sha256, held_out=is_held_out(sha256, run.settings.recipe.held_out)))
    return found.picture
