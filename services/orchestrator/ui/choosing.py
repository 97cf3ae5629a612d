"""The state of a view of records, as it is in its address: facets, words, order, page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from starlette.datastructures import QueryParams

from services.core.errors import InvalidInput
from services.orchestrator.run.ledger.facets import EVERYTHING, EntryChoice, Facet, Order

MOST_TEXT = 500
MOST_PHRASES = 16
"""Words and quoted phrases: each is another search."""
MOST_VALUES = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """The wish of an address. `after` is the cursor of the entry before the page."""

    choice: EntryChoice = EVERYTHING
    order: Order = Order.READ
    after: str = ""

    @property
    def query(self) -> str:
        """The wish in an address, with its "?"; "" for the first page of everything."""
        pairs: list[tuple[str, str]] = [
            (str(facet), value) for facet, values in self.choice.values.items() for value in values
        ]
        pairs += [("q", self.choice.text)] if self.choice.text else []
        pairs += [("order", self.order)] if self.order is not Order.READ else []
        pairs += [("after", self.after)] if self.after else []
        return f"?{urlencode(pairs)}" if pairs else ""

    def toggled(self, facet: Facet, value: str) -> Wish:
        """With `value` chosen if it wasn't, without it if it was; from the first page."""
        values = dict(self.choice.values)
        kept = [chosen for chosen in values.pop(facet, ()) if chosen != value]
        if value not in self.choice.values.get(facet, ()):
            kept.append(value)
        if kept:
            values[facet] = tuple(kept)
        return replace(self, choice=EntryChoice(values, self.choice.text), after="")

    def ordered(self, order: Order) -> Wish:
        return replace(self, order=order, after="")

    def beyond(self, cursor: str) -> Wish:
        return replace(self, after=cursor)


def read_wish(given: QueryParams) -> Wish:
    """Raises InvalidInput that names the parameter."""
    known = {*Facet, "q", "order", "after"}
    for name in given:
        if name not in known:
            raise InvalidInput(
                f"there is no parameter {name!r}: choose of {', '.join(sorted(known))}", field=name
            )
    values: dict[Facet, tuple[str, ...]] = {}
    for facet in Facet:
        chosen = tuple(dict.fromkeys(filter(None, given.getlist(facet))))
        if len(chosen) > MOST_VALUES:
            raise InvalidInput(
                f"{facet} has {len(chosen)} values; at most {MOST_VALUES} can be chosen",
                field=facet,
            )
        if chosen:
            values[facet] = chosen
    text = given.get("q", "").strip()
    if len(text) > MOST_TEXT:
        raise InvalidInput(
            f"the searched text has {len(text):,} characters; at most {MOST_TEXT} are searched for",
            field="q",
        )
    choice = EntryChoice(values, text)
    if len(choice.phrases) > MOST_PHRASES:
        raise InvalidInput(
            f"the search has {len(choice.phrases)} words; at most {MOST_PHRASES} are searched for: "
            'put words that follow each other in "double quotes"',
            field="q",
        )
    return Wish(choice, _order(given.get("order", "")), given.get("after", ""))


def _order(name: str) -> Order:
    if name and name not in list(Order):
        raise InvalidInput(
            f"there is no order {name!r}: choose one of {', '.join(Order)}", field="order"
        )
    return Order(name or Order.READ)


def run_link(run: str, page: str) -> str:
    """Address of a page of a run."""
    return f"/runs/{quote(run, safe='')}/{page}"


def image_link(run: str, image: str, size: str) -> str:
    """Address of an image by its sha256; of a placeholder if that is ""."""
    return run_link(run, f"images/{image or 'none'}/{size}")


def compare_link(
    left: str, right: str, left_round: int = 0, right_round: int = 0, page: int = 1
) -> str:
    """Address of a comparison of two runs; round 0 is the last one."""
    given = {"left_round": left_round, "right_round": right_round, "page": page * (page > 1)}
    chosen = {name: value for name, value in given.items() if value}
    return f"/compare?{urlencode({'left': left, 'right': right, **chosen})}"


def records_link(run: str, **facets: str) -> str:
    """Address of the records of a run with these values."""
    values = {Facet(facet): (value,) for facet, value in facets.items()}
    return run_link(run, f"records{Wish(EntryChoice(values)).query}")


def record_link(run: str, image: str, number: int, attempt: int, wish: Wish) -> str:
    """Address of a record in the list of `wish`; of a refused image, `image` is the path."""
    if number < 0:
        return run_link(run, f"refused?{urlencode({'path': image})}")
    return run_link(run, f"records/{image}-{number}-{attempt}{wish.beyond('').query}")
