"""Counts of a ledger's rows, for summaries, quotes and decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from services.core.annotation import Rejection
from services.core.usage import Usage
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.schema import LEAK, PRODUCTION, shelf_of

CELLS = "SELECT cell, count(*) FROM records WHERE round = ? GROUP BY cell"
MOVES = """
SELECT iif(redone.attempt, 'new', coalesce(earlier.cell, 'new')), r.cell, count(*) FROM records r
LEFT JOIN annotations redone
ON redone.shelf = r.shelf AND redone.image_sha256 = r.image_sha256
AND redone.number = r.number AND redone.attempt = r.round
LEFT JOIN records earlier
ON earlier.shelf = r.shelf AND earlier.image_sha256 = r.image_sha256
AND earlier.number = r.number AND earlier.round = r.round - 1
WHERE r.round = ? GROUP BY 1, 2
"""
CONTRADICTED = """
SELECT r.cell, -count(*) FROM (
    SELECT DISTINCT shelf, image_sha256, number FROM annotations
    WHERE rejection != '' AND rejection = ?2) a
JOIN records r
ON r.shelf = a.shelf AND r.image_sha256 = a.image_sha256 AND r.number = a.number AND r.round = ?1
WHERE EXISTS (SELECT 1 FROM images WHERE sha256 = a.image_sha256 AND rejection = '')
AND NOT EXISTS (SELECT 1 FROM annotations other WHERE other.shelf = a.shelf
    AND other.image_sha256 = a.image_sha256 AND other.number = a.number AND other.rejection = '')
GROUP BY 1
"""
"""Images in use alone. Another attempt may stand: a later round asks again."""
OF_LEAKS = f"""
SELECT r.cell, -count(*) FROM (
    SELECT DISTINCT sha256 FROM images WHERE rejection != '' AND rejection = ?2) i
JOIN records r
ON r.shelf = {shelf_of("i.sha256")} AND r.image_sha256 = i.sha256 AND r.round = ?1
WHERE NOT EXISTS (SELECT 1 FROM images WHERE sha256 = i.sha256 AND rejection = '')
GROUP BY 1
"""
AUDITED = """
SELECT CASE a.rejection WHEN '' THEN coalesce(r.cell, 'unidentified') ELSE a.rejection END, count(*)
FROM annotations a LEFT JOIN records r
ON r.shelf = a.shelf AND r.image_sha256 = a.image_sha256 AND r.number = a.number AND r.round = ?
WHERE a.origin = ? GROUP BY 1
"""
LAST_ATTEMPTS = """
SELECT a.rejection, count(*) FROM annotations a
WHERE a.attempt = (SELECT max(attempt) FROM annotations b
    WHERE b.shelf = a.shelf AND b.image_sha256 = a.image_sha256 AND b.number = a.number)
GROUP BY a.rejection
"""
LOW_GAP = """
SELECT count(*) FROM records JOIN annotations USING (shelf, image_sha256, number)
JOIN images ON sha256 = image_sha256
WHERE cell = 'gap' AND round = ? AND annotations.rejection = ?
AND images.rejection = '' AND NOT held_out
"""
USAGE = "sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens), sum(cost_usd)"
FINISHED = {
    "annotate": "annotations WHERE model_fingerprint != ''",
    "answer": "answers WHERE role = 'student' AND step = 'identify'",
    "identify": "answers WHERE role = 'teacher' AND step = 'identify'",
    "sample": "answers WHERE role = 'sample'",
}
"""Rows of the finished calls of each stage."""


def cells_of_round(ledger: Ledger, number: int) -> Counter[str]:
    """Records of that round by cell."""
    return _counted(ledger, CELLS, number)


def standing_cells(ledger: Ledger) -> Counter[str]:
    """Records of this round by cell, as `Ledger.records` has them.

    Those that samples of the teacher contradicted later, and those of images that were found to be
    leaks later, are counted by an index, and taken off.
    """
    found = cells_of_round(ledger, ledger.round)
    found.update(_counted(ledger, CONTRADICTED, ledger.round, Rejection.LOW_AGREEMENT))
    found.update(_counted(ledger, OF_LEAKS, ledger.round, LEAK))
    return +found


def moves_of_round(ledger: Ledger, number: int) -> Iterator[tuple[str, str, int]]:
    """Records of that round by their cell in the round before and now.

    The former is "new" for a record that was in no cell, or whose question has been replaced.
    """
    for before, after, count in ledger.read(MOVES, number):
        yield str(before), str(after), int(count)


def audited_requests(ledger: Ledger) -> dict[str, int]:
    """Users' requests that the teacher audited, by cell of this round or reason of rejection."""
    return dict(_counted(ledger, AUDITED, ledger.round, PRODUCTION))


def last_rejections(ledger: Ledger) -> Counter[str]:
    """Annotations by the rejection of their last attempt; "" is the key of the usable ones."""
    return _counted(ledger, LAST_ATTEMPTS)


def retried(ledger: Ledger) -> int:
    """Replies that repeat a question whose first reply was rejected."""
    return _count(ledger, "SELECT count(*) FROM annotations WHERE attempt > 0")


def replies(ledger: Ledger) -> int:
    """All replies, rejected or not."""
    return _count(ledger, "SELECT count(*) FROM annotations")


def images(ledger: Ledger) -> int:
    """All images, rejected or not."""
    return _count(ledger, "SELECT count(*) FROM images")


def images_of_source(ledger: Ledger, others: str) -> int:
    """Images whose path doesn't begin with `others`."""
    return _count(ledger, f"SELECT count(*) FROM images WHERE path NOT LIKE '{others}%'")


def refused_images(ledger: Ledger) -> Counter[str]:
    """Images by reason of rejection: few, and they have an index."""
    return _counted(
        ledger, "SELECT rejection, count(*) FROM images WHERE rejection != '' GROUP BY rejection"
    )


def usable_images(ledger: Ledger) -> int:
    return _count(ledger, "SELECT count(*) FROM images WHERE rejection = ''")


def accepted_images(ledger: Ledger) -> int:
    """All images minus the refused ones: both are counted within an index."""
    refused = "SELECT count(*) FROM images WHERE rejection != ''"
    return _count(ledger, f"SELECT (SELECT count(*) FROM images) - ({refused})")


def held_out_images(ledger: Ledger) -> int:
    """Counts in one pass over the table, instead of a look-up for each image."""
    return _count(
        ledger, "SELECT count(*) FROM images NOT INDEXED WHERE held_out AND rejection = ''"
    )


def gap_of_low_agreement(ledger: Ledger) -> int:
    """Records of the gap in training images that samples of the teacher contradict."""
    return _count(ledger, LOW_GAP, ledger.round, Rejection.LOW_AGREEMENT)


def finished_calls(ledger: Ledger) -> Counter[str]:
    """Finished model calls, each counted once whatever was interrupted; failed ones are left out.

    "annotate", or the role and the step of an answer. "saved": replies of the teacher cache.
    """
    answers = "SELECT iif(cached, 'saved', role || ' ' || step), count(*) FROM answers GROUP BY 1"
    annotated = (
        "SELECT iif(cached, 'saved', 'annotate'), count(*) FROM annotations "
        "WHERE model_fingerprint != '' GROUP BY 1"
    )
    return _counted(ledger, answers) + _counted(ledger, annotated)


def stage_calls(ledger: Ledger, stage: str) -> tuple[int, int, Usage]:
    """Finished calls of a stage of FINISHED, those among them that no cache saved, and usage."""
    statement = f"SELECT count(*), sum(1 - cached), {USAGE} FROM {FINISHED[stage]}"
    finished, made, *usage = next(ledger.read(statement))
    prompt, completion, cached, cost_usd = (value or 0 for value in usage)
    used = Usage(int(prompt), int(completion), int(cached), float(cost_usd))
    return int(finished), int(made or 0), used


def _count(ledger: Ledger, statement: str, *values: str | int) -> int:
    return next(int(count) for (count,) in ledger.read(statement, *values))


def _counted(ledger: Ledger, statement: str, *values: str | int) -> Counter[str]:
    rows = ledger.read(statement, *values)
    return Counter({str(name): int(count) for name, count in rows})
