"""The entries before and after one in a list: where a page of a record leads on."""

from __future__ import annotations

from dataclasses import replace

from services.orchestrator.run.ledger.browsing import (
    Place,
    agreements,
    in_turn,
    page,
    rank,
    ranked,
    share,
)
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.ledger.facets import RANKINGS, EntryChoice, Facet, Order


def neighbours(
    catalogue: Catalogue, choice: EntryChoice, order: Order, entry_id: int
) -> tuple[Place | None, Place | None]:
    """The entries of the choice before and after the one with this id; None at an end."""
    if order is Order.AGREEMENT:
        return _less_agreed(catalogue, choice, entry_id), _more_agreed(catalogue, choice, entry_id)
    if order in RANKINGS:
        ranking = RANKINGS[order]
        ((figure,),) = catalogue.read(
            f"SELECT {ranking.column} FROM entries WHERE id = ?", entry_id
        )
        if figure is None:
            return None, None
        own = rank(figure, entry_id)
        before = ranked(catalogue, choice, ranking.reverse, own, 1)
        after = ranked(catalogue, choice, ranking, own, 1)
    else:
        back = Order.READ if order is Order.NEWEST else Order.NEWEST
        before = list(in_turn(catalogue, choice, back, entry_id, 1))
        after = list(in_turn(catalogue, choice, order, entry_id, 1))
    return before[0] if before else None, after[0] if after else None


def _more_agreed(catalogue: Catalogue, choice: EntryChoice, entry: int) -> Place | None:
    own = _agreement(catalogue, entry)
    if not own:
        return None
    found = page(catalogue, choice, Order.AGREEMENT, f"{own}-{entry}", 1)
    return found[0] if found else None


def _less_agreed(catalogue: Catalogue, choice: EntryChoice, entry: int) -> Place | None:
    own = _agreement(catalogue, entry)
    for value in reversed(agreements(catalogue, choice)):
        if not own or share(value) > share(own):
            continue
        of_value = replace(choice, values={**choice.values, Facet.SAMPLES: (value,)})
        end = entry if value == own else 0
        for place in in_turn(catalogue, of_value, Order.NEWEST, end, 1):
            return replace(place, cursor=f"{value}-{place.cursor}")
    return None


def _agreement(catalogue: Catalogue, entry: int) -> str:
    """Agreement of an entry's samples; "" without samples."""
    rows = catalogue.read(
        f"SELECT {Facet.SAMPLES} FROM entries e JOIN combinations c ON c.id = combination "
        "WHERE e.id = ?",
        entry,
    )
    return next((str(value) for (value,) in rows), "")
