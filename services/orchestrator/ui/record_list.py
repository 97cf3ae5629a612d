"""Content of a list of records: a page of entries, and the facets they may be chosen by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from services.core.reviews import Counted
from services.orchestrator.run.columns import columns
from services.orchestrator.run.entries import Entry, read_named, read_refused
from services.orchestrator.run.ledger import browsing
from services.orchestrator.run.ledger.browsing import Place
from services.orchestrator.run.ledger.facets import (
    KNOWN,
    NEVER_SAMPLED,
    RANKINGS,
    EntryChoice,
    Facet,
    Order,
)
from services.orchestrator.run.ledger.review_book import (
    count_verdicts,
    may_review,
    reading_reviews,
)
from services.orchestrator.run.settings import Settings
from services.orchestrator.ui.choosing import Wish
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document
from services.orchestrator.ui.upkeep import Renewed

PAGE = 25


@dataclass(frozen=True, slots=True)
class RecordList:
    """The page. `next_cursor`: "" on the last page.

    `facets`: numbers of entries, as they would be if nothing were chosen in that facet.
    If `is_whole` is False, these are least numbers: many more have the searched words.
    """

    run: str
    wish: Wish
    settings: Settings
    entries: tuple[Entry, ...]
    next_cursor: str
    found: int
    is_whole: bool
    facets: Mapping[Facet, Mapping[str, int]]
    renewed: Renewed
    reviewed: tuple[Counted | None, ...]
    """People's verdict on each of the entries; None if nobody has reviewed it."""
    may_review: bool

    def document(self) -> Document:
        return {
            "run": self.run,
            "choice": {
                **{str(facet): values for facet, values in self.wish.choice.values.items()},
                "q": self.wish.choice.text,
                "order": self.wish.order,
                "after": self.wish.after,
            },
            "found": self.found,
            "is_whole": self.is_whole,
            "facets": self.facets,
            "records": [columns(entry, self.settings) for entry in self.entries],
            "reviews": [asdict(counted) if counted else None for counted in self.reviewed],
            "next": self.next_cursor,
            "renewed": asdict(self.renewed),
        }


def read_records(opened: OpenedRun, wish: Wish) -> RecordList:
    choice = as_ordered(opened, wish)
    places = browsing.page(opened.catalogue, choice, wish.order, wish.after, PAGE + 1)
    counted = browsing.count(opened.catalogue, choice)
    entries = tuple(_entries(opened, places[:PAGE]))
    return RecordList(
        run=opened.name,
        wish=wish,
        settings=opened.run.settings,
        entries=entries,
        next_cursor=places[PAGE - 1].cursor if len(places) > PAGE else "",
        found=max(counted.entries, min(len(places), PAGE)),
        is_whole=counted.is_whole,
        facets=counted.facets,
        renewed=opened.renewed,
        reviewed=tuple(_reviewed(opened, entries)),
        may_review=may_review(opened.run.folder),
    )


def as_ordered(opened: OpenedRun, wish: Wish) -> EntryChoice:
    """The entries that the order has a place for: sampled ones, or those with its figure."""
    if wish.order in RANKINGS:
        known = {RANKINGS[wish.order].facet: (KNOWN,)}
        return replace(wish.choice, values={**wish.choice.values, **known})
    if wish.order is not Order.AGREEMENT:
        return wish.choice
    sampled = tuple(browsing.agreements(opened.catalogue, wish.choice))
    return replace(
        wish.choice, values={**wish.choice.values, Facet.SAMPLES: sampled or (NEVER_SAMPLED,)}
    )


def _reviewed(opened: OpenedRun, entries: Sequence[Entry]) -> Iterator[Counted | None]:
    with reading_reviews(opened.run.folder) as book:
        for entry in entries:
            row = entry.annotation
            if book is None or row is None:
                yield None
                continue
            image = row.image_sha256
            given = book.of_image(opened.run.ledger.shelf(image), image)
            yield count_verdicts(given).get((image, row.question, row.answer))


def _entries(opened: OpenedRun, places: Sequence[Place]) -> Iterator[Entry]:
    ledger = opened.run.ledger
    named = read_named(
        ledger, ((p.image, p.number, p.attempt) for p in places if not p.is_refused_image)
    )
    for place in places:
        yield read_refused(ledger, place.image) if place.is_refused_image else next(named)
