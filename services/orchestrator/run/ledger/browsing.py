"""Counts and pages of a catalogue's entries, by facets and words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.core.errors import InvalidInput
from services.orchestrator.run.ledger.catalogue import COLUMNS, Catalogue
from services.orchestrator.run.ledger.facets import (
    EVERYTHING,
    KNOWN,
    RANKINGS,
    EntryChoice,
    Facet,
    Order,
    Ranking,
)

COUNTED = 5_000
"""Most entries with the searched words that are looked at for the counts."""
SEARCHED = 10_000
"""Most entries with the searched words that are brought into the order of a figure."""
FOUND = f"SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid LIMIT {COUNTED}"
BY_COMBINATION = f"""
SELECT {COLUMNS}, counted FROM (
    SELECT combination, count(*) AS counted FROM ({FOUND}) JOIN entries ON id = rowid
    GROUP BY combination) JOIN combinations ON id = combination
"""
RANKED_WORDS = f"""
SELECT {{0}}, id, image, number, attempt FROM entries WHERE id IN (
    SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid LIMIT {SEARCHED}) {{1}}
"""
RANKED = """
SELECT {0}, id, image, number, attempt FROM entries WHERE combination = ? AND {0} IS NOT NULL {1}
"""
HEADS = """
SELECT combination FROM combinations c JOIN entries e ON e.id = (
    SELECT id FROM entries WHERE combination = c.id AND {0} IS NOT NULL {1})
WHERE {2} {3}
"""
"""Combinations by their first entry in the order of a figure."""
_CURSOR = re.compile(r"[0-9]{1,18}")
_RANK = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-][0-9]{1,3})?)_([0-9]{1,18})")
_AGREEMENT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of chosen entries.

    `facets`: entries by each value of a facet, as they would be if nothing were chosen in that
    facet. If `is_whole` is False, only the first COUNTED entries with the words are looked at.
    """

    entries: int
    facets: Mapping[Facet, Counter[str]]
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of a catalogue, and the cursor by which a page begins after it."""

    cursor: str
    image: str
    """Sha256 of the image; the path of a refused image."""
    number: int
    attempt: int

    @property
    def is_refused_image(self) -> bool:
        return self.number < 0


def count(catalogue: Catalogue, choice: EntryChoice = EVERYTHING) -> Counts:
    """Counts the entries of the choice, and of each value of each facet."""
    limits = [(place, choice.values[f]) for place, f in enumerate(Facet) if f in choice.values]
    facets: dict[Facet, Counter[str]] = {facet: Counter() for facet in Facet}
    in_turn = list(facets.items())
    chosen = found = 0
    for *values, entries in _combinations(catalogue, choice):
        found += entries
        outside = [place for place, allowed in limits if values[place] not in allowed]
        if len(outside) > 1:
            continue
        if not outside:
            chosen += entries
        for place in outside or range(len(in_turn)):
            if values[place]:
                in_turn[place][1][values[place]] += entries
    return Counts(chosen, facets, is_whole=not choice.phrases or found < COUNTED)


def cross(catalogue: Catalogue, one: Facet, other: Facet) -> dict[str, Counter[str]]:
    """Entries by the values of two facets."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for first, second, entries in catalogue.read(
        f"SELECT {one}, {other}, sum(entries) FROM combinations GROUP BY 1, 2"
    ):
        if first and second and entries:
            found[first][second] += entries
    return dict(found)


def page(
    catalogue: Catalogue, choice: EntryChoice, order: Order, after: str, limit: int
) -> list[Place]:
    """At most `limit` entries, after the one with the cursor `after`; "" begins at the first.

    Raises InvalidInput for a text that is no cursor.
    """
    if order in RANKINGS:
        return ranked(catalogue, choice, RANKINGS[order], after, limit)
    if order is not Order.AGREEMENT:
        return list(in_turn(catalogue, choice, order, _number(after), limit))
    reached, _, last = after.rpartition("-")
    found: list[Place] = []
    for value in agreements(catalogue, choice):
        if after and share(value) < share(reached):
            continue
        start = _number(last) if value == reached else 0
        of_value = replace(choice, values={**choice.values, Facet.SAMPLES: (value,)})
        for place in in_turn(catalogue, of_value, Order.READ, start, limit - len(found)):
            found.append(replace(place, cursor=f"{value}-{place.cursor}"))
        if len(found) == limit:
            break
    return found


def sample(catalogue: Catalogue, facet: Facet, value: str, limit: int) -> list[Place]:
    """At most `limit` entries with a value of a facet, those with the smallest hash of the image.

    So they are drawn at random, but always the same ones, whatever order the images came in.
    """
    rows = catalogue.read(
        "SELECT e.id, image, number, attempt FROM entries e JOIN combinations c "
        f"ON c.id = combination WHERE c.{facet} = ? ORDER BY image, number, attempt LIMIT ?",
        value,
        limit,
    )
    return [Place(str(entry), str(image), int(n), int(a)) for entry, image, n, a in rows]


def agreements(catalogue: Catalogue, choice: EntryChoice) -> list[str]:
    """Agreements of samples that the choice allows, the least first."""
    rows = catalogue.read("SELECT value FROM tokens WHERE facet = ?", Facet.SAMPLES)
    allowed = choice.values.get(Facet.SAMPLES)
    return sorted((value for (value,) in rows if not allowed or value in allowed), key=share)


def id_of(catalogue: Catalogue, shelf: int, image: str, number: int, attempt: int) -> int:
    """Id of an entry; 0 if the catalogue doesn't have it."""
    statement = "SELECT id FROM entries WHERE (shelf, image, number, attempt) = (?, ?, ?, ?)"
    return next(
        (int(found) for (found,) in catalogue.read(statement, shelf, image, number, attempt)), 0
    )


def in_turn(
    catalogue: Catalogue, choice: EntryChoice, order: Order, after: int, limit: int
) -> Iterator[Place]:
    """Entries by id; the words and facets of the choice are one expression of the index."""
    direction, comes_after = ("DESC", "<") if order is Order.NEWEST else ("ASC", ">")
    expression = _expression(catalogue, choice)
    source, name = ("texts", "rowid") if expression else ("entries", "id")
    clauses = ["texts MATCH ?"] if expression else []
    values: list[str | int] = [expression] if expression else []
    if after:
        clauses.append(f"{name} {comes_after} ?")
        values.append(after)
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    ids = f"SELECT {name} AS found FROM {source} {where} ORDER BY {name} {direction} LIMIT ?"
    rows = catalogue.read(
        f"SELECT id, image, number, attempt FROM ({ids}) JOIN entries ON id = found "
        f"ORDER BY found {direction}",
        *values,
        limit,
    )
    for entry_id, image, number, attempt in rows:
        yield Place(str(entry_id), str(image), int(number), int(attempt))


def ranked(
    catalogue: Catalogue, choice: EntryChoice, ranking: Ranking, after: str, limit: int
) -> list[Place]:
    """Entries by their figure. With words, of the first SEARCHED entries that have them."""
    figure, way = ranking.column, "DESC" if ranking.is_falling else "ASC"
    beyond = f"AND ({figure}, id) {'<' if ranking.is_falling else '>'} (?, ?)" if after else ""
    start: tuple[float, int] | tuple[()] = _figure_and_id(after) if after else ()
    in_order = f"{beyond} ORDER BY {figure} {way}, id {way} LIMIT ?"
    known = replace(choice, values={**choice.values, ranking.facet: (KNOWN,)})
    if choice.phrases:
        expression = _expression(catalogue, known)
        rows = catalogue.read(RANKED_WORDS.format(figure, in_order), expression, *start, limit)
        return [Place(rank(*row[:2]), *row[2:]) for row in rows]
    # Each combination has its entries in order. The first ones of all are in those combinations
    # whose own first entries come first.
    chosen = [value for values in known.values.values() for value in values]
    allowed = " AND ".join(
        f"c.{facet} IN ({', '.join('?' * len(values))})" for facet, values in known.values.items()
    )
    heads = HEADS.format(
        figure, in_order, allowed, f"ORDER BY e.{figure} {way}, e.id {way} LIMIT ?"
    )
    first = list(catalogue.read(heads, *start, 1, *chosen, limit))
    of_combination = RANKED.format(figure, in_order)
    found = [row for one in first for row in catalogue.read(of_combination, *one, *start, limit)]
    found.sort(reverse=ranking.is_falling)
    return [Place(rank(*row[:2]), *row[2:]) for row in found[:limit]]


def rank(figure: float, entry_id: int) -> str:
    """Cursor of an entry in the order of a figure."""
    return f"{figure!r}_{entry_id}"


def _figure_and_id(cursor: str) -> tuple[float, int]:
    """Raises InvalidInput for a text that is no such cursor."""
    found = _RANK.fullmatch(cursor)
    if not found:
        raise InvalidInput(f"after={cursor} is no entry: begin at the first page", field="after")
    return float(found[1]), int(found[2])


def _combinations(catalogue: Catalogue, choice: EntryChoice) -> Iterator[tuple[Any, ...]]:
    """Values of all facets, each time with the number of entries that have them and the words.

    The facets of the choice are left out: entries beyond them are counted, too.
    """
    if choice.phrases:
        return catalogue.read(BY_COMBINATION, " AND ".join(_searched(choice)))
    return catalogue.read(f"SELECT {COLUMNS}, entries FROM combinations WHERE entries > 0")


def _searched(choice: EntryChoice) -> list[str]:
    return [f'words : "{phrase}"' for phrase in choice.phrases]


def _expression(catalogue: Catalogue, choice: EntryChoice) -> str:
    """The choice in FTS5's words; "" if it is everything."""
    parts = _searched(choice)
    for facet, values in choice.values.items():
        tokens = (f"v{catalogue.token(facet, value)}" for value in values)
        parts.append(f"facets : ({' OR '.join(tokens)})")
    return " AND ".join(parts)


def _number(cursor: str) -> int:
    """Raises InvalidInput for a text that is no cursor."""
    if cursor and not _CURSOR.fullmatch(cursor):
        raise InvalidInput(f"after={cursor} is no entry: begin at the first page", field="after")
    return int(cursor or 0)


def share(agreement: str) -> tuple[float, int]:
    """Order of agreements such as "3/4". Raises InvalidInput if it is none."""
    found = _AGREEMENT.fullmatch(agreement)
    if not found:
        raise InvalidInput(f"after={agreement} is no entry: begin at the first page", field="after")
    agreed, asked = map(int, found.groups())
    return agreed / max(1, asked), asked
