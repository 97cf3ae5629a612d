"""People's reviews of a run, in a file next to its ledger (docs/decisions/reviews.md).

Rows are only added: a later review of the same reviewer replaces his earlier one when the verdicts
are counted, and the history stays. A review is on a question with its answer, as an opinion is, so
it holds in every round, whatever number the annotation has.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from services.core.errors import InvalidInput, MpaError, WrongState
from services.core.reviews import (
    Counted,
    Review,
    ReviewVerdict,
    can_be_seen,
    checked_review,
    counted,
)
from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.opinions import Label

FILE = "reviews.sqlite"
REVIEWS_SCHEMA = "1"
ALL = 2**62
"""Number of a review that is never reached."""
TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- answer: the annotation's. shelf: the image's in the ledger, where it never changes.
CREATE TABLE IF NOT EXISTS reviews (
    id INTEGER PRIMARY KEY, shelf INTEGER NOT NULL, image_sha256 TEXT NOT NULL,
    question TEXT NOT NULL, answer TEXT NOT NULL, reviewer TEXT NOT NULL, verdict TEXT NOT NULL,
    correction TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS reviews_by_image ON reviews (shelf, image_sha256);
"""
COLUMNS = "image_sha256, question, answer, reviewer, verdict, correction, at"
ROW = "INSERT INTO reviews (shelf, " + COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
LATER_ROW = f"""
INSERT INTO reviews (shelf, {COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
WHERE NOT EXISTS (SELECT 1 FROM reviews WHERE (shelf, image_sha256) = (?1, ?2)
    AND (question, answer, reviewer) = (?3, ?4, ?5) AND at >= ?8)
"""
ON_SHELF = f"SELECT {COLUMNS} FROM reviews WHERE shelf = ? ORDER BY id"
OF_IMAGE = f"SELECT {COLUMNS} FROM reviews WHERE shelf = ? AND image_sha256 = ? ORDER BY id"
EVERY = f"SELECT {COLUMNS} FROM reviews WHERE id <= ? ORDER BY id"

Row = tuple[str, str, str, str, str, str, float]
LabelReviews = Mapping[Label, Sequence[Review]]
"""Reviews by label, in their order."""


class ReviewBook(Database):
    """The file. Several writers may have it open: each waits for the other's short writes.

    Raises WrongState for the file of a later program.
    """

    noun = "reviews"
    if_full, if_damaged = "free space, then repeat", "restore it, or delete it and review again"

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        if not read_only and not self._schema():
            self.run_script(TABLES)
            self.write("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", REVIEWS_SCHEMA)
        if self._schema() not in ("", REVIEWS_SCHEMA):
            raise WrongState(
                f"{path} is of schema {self._schema()}, this program's is {REVIEWS_SCHEMA}: "
                "update the program"
            )

    def _schema(self) -> str:
        """The file's schema; "" if it has none yet."""
        if not any(self.read("SELECT 1 FROM sqlite_master WHERE name = 'meta'")):
            return ""
        rows = self.read("SELECT value FROM meta WHERE key = 'schema'")
        return next((str(value) for (value,) in rows), "")

    def is_made(self) -> bool:
        """Whether the tables are there: the file may be in the making."""
        return bool(self._schema())

    def add(self, shelf: int, label: Label, review: Review) -> None:
        self.write(ROW, shelf, *label, *_values(review))

    def add_later(self, shelf: int, label: Label, review: Review) -> bool:
        """Adds a review that may have come before: only if it is later than all of its reviewer's.

        Returns whether it was added.
        """
        self.write(LATER_ROW, shelf, *label, *_values(review))
        ((added,),) = self.read("SELECT changes()")
        return bool(added)

    def last_id(self) -> int:
        """Number of the last review; 0 without any."""
        ((last,),) = self.read("SELECT max(id) FROM reviews")
        return int(last or 0)

    def last_by_shelf(self) -> dict[int, int]:
        """Number of the last review on each shelf."""
        return dict(self.read("SELECT shelf, max(id) FROM reviews GROUP BY shelf"))

    def on_shelf(self, shelf: int) -> LabelReviews:
        return _by_label(self.read(ON_SHELF, shelf))

    def of_image(self, shelf: int, image_sha256: str) -> LabelReviews:
        return _by_label(self.read(OF_IMAGE, shelf, image_sha256))

    def every(self, until: int = ALL) -> LabelReviews:
        """All reviews up to the one with the number `until`."""
        return _by_label(self.read(EVERY, until))

    def reviewed_by(self, reviewer: str) -> set[Label]:
        """Labels that the reviewer has reviewed."""
        return {
            (image, question, answer)
            for image, question, answer in self.read(
                "SELECT image_sha256, question, answer FROM reviews WHERE reviewer = ?", reviewer
            )
        }


def _values(review: Review) -> tuple[str, str, str, float]:
    return review.reviewer, str(review.verdict), review.correction, review.at


def _by_label(rows: Iterator[Row]) -> LabelReviews:
    found: dict[Label, list[Review]] = {}
    for image, question, answer, reviewer, verdict, correction, at in rows:
        try:
            if verdict == ReviewVerdict.CORRECT and correction and not can_be_seen(correction):
                verdict = ReviewVerdict.SKIP  # earlier releases took it, and it is no answer
            review = checked_review(reviewer, verdict, correction, at=at)
        except (InvalidInput, AttributeError, TypeError) as error:
            raise MpaError(
                f"the reviews have a row that can't be used ({error}): restore {FILE}, or update "
                "the program"
            ) from error
        found.setdefault((image, question, answer), []).append(review)
    return found


def count_verdicts(reviews: LabelReviews) -> dict[Label, Counted]:
    """The verdict that counts for each label."""
    found = ((label, counted(given)) for label, given in reviews.items())
    return {label: one for label, one in found if one is not None}


@contextmanager
def reading_reviews(folder: Path) -> Iterator[ReviewBook | None]:
    """The reviews of the run in `folder`; None if it has none yet."""
    path = folder / FILE
    if not path.is_file():
        yield None
        return
    with closing(ReviewBook(path, read_only=True)) as book:
        yield book if book.is_made() else None


def may_review(folder: Path) -> bool:
    """Whether reviews of the run can be written: never through a link to another file."""
    path = folder / FILE
    if path.is_symlink():
        return False
    return os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


@contextmanager
def writing_reviews(folder: Path) -> Iterator[ReviewBook]:
    """The reviews of the run in `folder`, to add to. Raises WrongState if it can't be written."""
    if not may_review(folder):
        raise WrongState(
            f"{folder} can't be written, so reviews can't be kept: copy the run to a folder "
            "that can be written"
        )
    with closing(_made(folder)) as book:
        yield book


def _made(folder: Path) -> ReviewBook:
    """The file, made by one at a time: SQLite does not wait for another who makes it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ReviewBook(folder / FILE)
    finally:
        os.close(lock)
