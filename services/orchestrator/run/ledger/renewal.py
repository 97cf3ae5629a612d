"""Renewal of a catalogue: the shelves of its ledger that have changed since, and no others.

A ledger of a million records is read whole once, in minutes. Then each renewal takes the time of a
look at the ledger's indices and of the shelves that are at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.orchestrator.run.ledger.catalogue import CATALOGUE_SCHEMA, Catalogue
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.review_book import ReviewBook
from services.orchestrator.run.ledger.shelves import RoundVersions, marks, read_shelf

SHELVES_AT_ONCE = 8
"""Shelves of one transaction: a reader sees them when it ends."""
SCHEMA_NOTE = "schema"


def is_usable(catalogue: Catalogue) -> bool:
    """Whether this program made the catalogue; another's is deleted and made again."""
    return catalogue.note(SCHEMA_NOTE) in ("", CATALOGUE_SCHEMA)


def renew(
    catalogue: Catalogue,
    ledger: Ledger,
    versions: RoundVersions,
    is_ending: Callable[[], bool] = lambda: False,
    reviews: ReviewBook | None = None,
) -> Iterator[tuple[int, int]]:
    """Yields the number of shelves that are up to date, and of all shelves, as it goes on.

    Raises Cancelled within a long shelf if `is_ending`; the shelf is then as it was before.
    """
    catalogue.set_note(SCHEMA_NOTE, CATALOGUE_SCHEMA)
    now = marks(ledger, versions, reviews)
    before = catalogue.marks()
    changed = [shelf for shelf, mark in now.items() if before.get(shelf) != mark]
    yield len(now) - len(changed), len(now)
    for first in range(0, len(changed), SHELVES_AT_ONCE):
        some: Sequence[int] = changed[first : first + SHELVES_AT_ONCE]
        with catalogue.at_once():
            for shelf in some:
                entries = read_shelf(ledger, shelf, versions, is_ending, reviews)
                catalogue.put_shelf(shelf, now[shelf], entries)
        yield len(now) - len(changed) + first + len(some), len(now)
