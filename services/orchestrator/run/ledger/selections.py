"""Images and annotations that a step works on."""

from __future__ import annotations

from collections.abc import Iterator

from services.core.diversity import COLLAPSED
from services.core.parity import Cell
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.meta import STEPS_OF_A_ROUND
from services.orchestrator.run.ledger.schema import POOL, PRODUCTION

AUDITED_IMAGES = """
SELECT DISTINCT image_sha256 FROM annotations WHERE origin = ? ORDER BY image_sha256
"""
AUDITED_GAP = """
SELECT DISTINCT r.image_sha256 FROM records r JOIN annotations a
ON a.shelf = r.shelf AND a.image_sha256 = r.image_sha256 AND a.number = r.number AND a.origin = ?
WHERE r.round = ? AND r.cell = ? ORDER BY r.image_sha256
"""
COLUMNS = "i.path, a.image_sha256, a.question, a.answer, a.number, a.attempt"
IN_USE = "JOIN images i ON i.sha256 = a.image_sha256 AND i.rejection = ''"
MADE = f"""
SELECT {COLUMNS} FROM annotations a {IN_USE}
WHERE a.question != '' AND a.origin = ?
AND a.rejection NOT IN ({", ".join("?" * len(COLLAPSED))})
"""
GAP = f"""
SELECT {COLUMNS} FROM records r JOIN annotations a
ON a.shelf = r.shelf AND a.image_sha256 = r.image_sha256 AND a.number = r.number
AND a.rejection = '' AND a.origin = ? {IN_USE}
WHERE r.round = ? AND r.cell = ?
"""
UNFINISHED = "FROM images WHERE rejection = '' AND step < ? AND path > ? AND path NOT LIKE ?"

Selected = tuple[str, str, str, str, int, int]
"""Path, sha256, question, answer, number and attempt of an annotation."""


def images_in_use(ledger: Ledger) -> list[tuple[str, str]]:
    """Path and sha256 of each, by path."""
    return list(ledger.read("SELECT path, sha256 FROM images WHERE rejection = '' ORDER BY path"))


def unfinished(
    ledger: Ledger, step: int, after: str, others: str, limit: int
) -> list[tuple[str, str]]:
    """Path and sha256 of images before `step` of this round, by path, after the path `after`.

    Images whose path begins with `others` are left out.
    """
    goal = step + STEPS_OF_A_ROUND * (ledger.round - 1)
    statement = f"SELECT path, sha256 {UNFINISHED} ORDER BY path LIMIT ?"
    return list(ledger.read(statement, goal, after, f"{others}%", limit))


def count_unfinished(ledger: Ledger, step: int, others: str) -> int:
    """Number of all images that `unfinished` finds."""
    goal = step + STEPS_OF_A_ROUND * (ledger.round - 1)
    rows = ledger.read(f"SELECT count(*) {UNFINISHED}", goal, "", f"{others}%")
    return int(next(rows)[0])


def audited_images(ledger: Ledger) -> list[str]:
    """Images that users asked about, by sha256."""
    return [str(sha256) for (sha256,) in ledger.read(AUDITED_IMAGES, PRODUCTION)]


def audited_gap(ledger: Ledger) -> list[str]:
    """Images in whose users' questions this round has found a gap, by sha256."""
    rows = ledger.read(AUDITED_GAP, PRODUCTION, ledger.round, Cell.GAP)
    return [str(sha256) for (sha256,) in rows]


def made_annotations(ledger: Ledger) -> Iterator[Selected]:
    """Annotations of PA, whatever PI made of them, without users' questions."""
    yield from ledger.read(MADE, POOL, *COLLAPSED)


def gap_annotations(ledger: Ledger) -> Iterator[Selected]:
    """Annotations of PA in this round's gap."""
    yield from ledger.read(GAP, POOL, ledger.round, Cell.GAP)


def first_leak(ledger: Ledger) -> str:
    """One image that is in an evaluation set, too, and how it was found; "" if there is none."""
    statement = (
        "SELECT path || ': ' || detail FROM images WHERE rejection = 'leak' ORDER BY path LIMIT 1"
    )
    return next((str(leak) for (leak,) in ledger.read(statement)), "")
