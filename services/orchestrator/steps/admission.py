"""Admission of the pool's images to the ledger: accepted, refused with a reason, or a duplicate."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice

from services.core.errors import InvalidInput
from services.core.parity import is_held_out
from services.core.pixels import MOST_NARROW
from services.orchestrator.images.likeness import Likenesses
from services.orchestrator.images.reading import Accepted, RefusedImage
from services.orchestrator.images.source import ImageItem, Source
from services.orchestrator.run.ledger import ImageRow, Ledger
from services.orchestrator.run.ledger.schema import LEAK
from services.orchestrator.run.run import Run
from services.orchestrator.steps.leaks import leaks_of
from services.rpc.client import Picture


def unfinished(run: Run, source: Source, step: int) -> Generator[ImageItem]:
    """Images of the run to read; images past `step` and refused ones need no reading.

    Reads the ledger over a connection of its own, so that any one thread may go through
    it.
    """
    ledger = Ledger(run.folder / "ledger.sqlite", read_only=True)
    try:
        yield from islice(
            source.walk(lambda path: ledger.is_finished(path, step)), run.settings.limit or None
        )
    finally:
        ledger.close()


class Admission:
    """Knowledge of one pass over the images about those before.

    Call `admit` in the order of the source: the first of two similar images stays.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._leaks = leaks_of(run)
        distance = run.settings.near_duplicates
        self._near = None if distance is None else NearDuplicates(run.ledger, distance)

    def admit(self, found: Accepted | RefusedImage) -> Picture | None:
        """The picture to annotate, or None. An earlier decision in the ledger stands.

        Raises InvalidInput if the file has changed since the ledger was written.
        """
        ledger = self._run.ledger
        path = found.path
        if isinstance(found, RefusedImage):
            ledger.add_image(ImageRow(path, found.sha256, found.reason, found.detail))
            return None
        sha256 = found.picture.sha256
        known = ledger.image(path)
        if known is not None:
            if known.sha256 != sha256:
                raise InvalidInput(
                    f"{path} has changed since this run saw it: put it back, or start a new run"
                )
            return None if known.rejection else found.picture
        rejection, detail = self._objection(found)
        is_kept = not rejection and is_held_out(sha256, self._run.settings.recipe.held_out)
        ledger.add_image(
            ImageRow(path, sha256, rejection, detail, held_out=is_kept, likeness=found.likeness)
        )
        if not rejection and self._near is not None and found.likeness:
            self._near.add(sha256, found.likeness)
        return None if rejection else found.picture

    def _objection(self, found: Accepted) -> tuple[str, str]:
        """Rejection and detail of an unusable image; "" if it is used."""
        ledger = self._run.ledger
        sha256 = found.picture.sha256
        if max(found.size) > MOST_NARROW * min(found.size):
            width, height = found.size
            detail = (
                f"{width:,} x {height:,} pixels: one side is over {MOST_NARROW} times the other"
            )
            return "too_narrow", detail
        if leak := self._leaks.find(sha256, found.likeness):
            return LEAK, leak
        if twin := ledger.path_of(sha256):
            return "duplicate", f"the same bytes as {twin}"
        if self._near is not None and found.likeness and (near := self._near.find(found.likeness)):
            like, bits = near
            return "near_duplicate", f"looks like {ledger.path_of(like)} ({bits} bits differ)"
        return "", ""


class NearDuplicates:
    """The likenesses of all images that the run uses. Rejected images are left out."""

    def __init__(self, ledger: Ledger, distance: int) -> None:
        self._likenesses = Likenesses(distance)
        self._contents = bytearray()  # 32 bytes each: a million names would be a hundred megabytes
        for _, sha256, likeness in ledger.likenesses():
            if likeness:
                self.add(sha256, likeness)

    def add(self, sha256: str, likeness: bytes) -> None:
        self._likenesses.add(likeness)
        self._contents += bytes.fromhex(sha256)

    def find(self, likeness: bytes) -> tuple[str, int] | None:
        """The sha256 of the nearest image and the number of bits that differ.

        Of several, the smallest sha256 is taken, whatever order they came in.
        """
        found = self._likenesses.find(likeness)
        if found is None:
            return None
        numbers, bits = found
        return min(self._contents[32 * number : 32 * number + 32].hex() for number in numbers), bits
