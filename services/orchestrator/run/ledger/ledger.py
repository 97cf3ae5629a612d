"""The ledger of a run: every image, annotation, answer and decision with its reason, in SQLite.

Writing is idempotent by key. A finished model call is committed as it arrives or, within
`in_batches`, COMMIT_EVERY_S later with others. A run that is killed at any instant
repeats at most the calls that were in flight, and ends with the same records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from services.core.annotation import Rejection
from services.core.parity import Cell
from services.core.usage import Usage
from services.orchestrator.run.ledger.meta import STEPS_OF_A_ROUND, Meta
from services.orchestrator.run.ledger.migration import schema_of
from services.orchestrator.run.ledger.rows import (
    ANNOTATION_COLUMNS,
    ANSWER_COLUMNS,
    USAGE_COLUMNS,
    AnnotationRow,
    AnswerRow,
    ImageRow,
    Record,
    Value,
    columns_of,
    row_of,
)
from services.orchestrator.run.ledger.schema import IMAGES_ON_A_SHELF, shelf_of

FAILED = (Rejection.TEACHER_ERROR, Rejection.STUDENT_ERROR, Rejection.PENDING)
"""Rejections of a failed or pending call: it is made again when the run is repeated."""
SHELVES_KEPT = 4096
"""Images whose shelf is kept in memory: more than are ever in flight."""


class Ledger(Meta):
    """Rows of a run, with one writer at a time (the run's lock) and readers at any time.

    Records and steps are always those of `round`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._shelves: dict[str, int] = {}
        self._images: int | None = None  # that have come, counted when the first is added

    def shelf(self, image_sha256: str) -> int:
        """Shelf of an image's rows. It never changes."""
        if image_sha256 not in self._shelves:
            known = next(
                int(shelf) for (shelf,) in self.read(f"SELECT {shelf_of('?')}", image_sha256)
            )
            if not known:
                return 0  # also for one that has not come yet
            if len(self._shelves) >= SHELVES_KEPT:
                self._shelves.clear()
            self._shelves[image_sha256] = known
        return self._shelves[image_sha256]

    def image(self, path: str) -> ImageRow | None:
        before = STEPS_OF_A_ROUND * (self.round - 1)
        columns = "path, sha256, rejection, detail, held_out, max(0, step - ?)"
        rows = self.read(f"SELECT {columns} FROM images WHERE path = ?", before, path)
        return next((ImageRow(*row) for row in rows), None)

    def is_finished(self, path: str, step: int) -> bool:
        """Whether the image has come as far as `step` in this round, or was rejected."""
        statement = "SELECT 1 FROM images WHERE path = ? AND (rejection != '' OR step >= ?)"
        return any(self.read(statement, path, step + STEPS_OF_A_ROUND * (self.round - 1)))

    def path_of(self, image_sha256: str) -> str:
        """Path of the image in use with this content; "" if there is none."""
        rows = self.read(
            "SELECT path FROM images WHERE sha256 = ? AND rejection = ''", image_sha256
        )
        return next((path for (path,) in rows), "")

    def add_image(self, row: ImageRow) -> None:
        if self._images is None:
            self._images = next(int(count) for (count,) in self.read("SELECT count(*) FROM images"))
        known = self.read("SELECT shelf FROM images WHERE path = ?", row.path)
        shelf = next((int(found) for (found,) in known), self._images // IMAGES_ON_A_SHELF)
        self.insert("images", {**columns_of(row), "shelf": shelf})
        self._images += 1

    def reject_image(self, path: str, rejection: str, detail: str) -> None:
        self.write(
            "UPDATE images SET rejection = ?, detail = ? WHERE path = ?", rejection, detail, path
        )

    def likenesses(self) -> Iterator[tuple[str, str, bytes]]:
        """Path, sha256 and likeness of every image in use."""
        yield from self.read("SELECT path, sha256, likeness FROM images WHERE rejection = ''")

    def evaluation_images(self) -> Iterator[tuple[str, str, str, bytes]]:
        """Set, path, sha256 and likeness of every image."""
        yield from self.read(
            "SELECT image_set, path, sha256, likeness FROM evaluation_images ORDER BY 1, 2"
        )

    def set_evaluation_images(self, image_set: str, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Replaces the images of a set by rows of path, sha256 and likeness."""
        self.write("DELETE FROM evaluation_images WHERE image_set = ?", image_set)
        for row in rows:
            self.write(
                "INSERT OR REPLACE INTO evaluation_images VALUES (?, ?, ?, ?)", image_set, *row
            )

    def set_step(self, image_sha256: str, step: int) -> None:
        """Moves the image on to `step`, unless a call about it failed, which a repeated run
        makes again.
        """
        failed = ", ".join("?" * len(FAILED))
        self.write(
            "UPDATE images SET step = max(step, ?) "
            "WHERE sha256 = ? AND rejection = '' AND NOT EXISTS (SELECT 1 FROM annotations "
            f"WHERE shelf = ? AND image_sha256 = ? AND rejection IN ({failed}))",
            step + STEPS_OF_A_ROUND * (self.round - 1),
            image_sha256,
            self.shelf(image_sha256),
            image_sha256,
            *FAILED,
        )

    def failures(self) -> tuple[int, int, str]:
        """Annotations with a failed call, all annotations, and the message of one failure."""
        errors = (Rejection.TEACHER_ERROR, Rejection.STUDENT_ERROR)
        rows = self.read(
            "SELECT sum(rejection IN (?, ?)), count(*), "
            "max(CASE WHEN rejection IN (?, ?) THEN detail END) FROM annotations",
            *errors,
            *errors,
        )
        failed, total, detail = next(rows)
        return int(failed or 0), int(total), str(detail or "")

    def pending(self) -> tuple[int, str]:
        """Annotations that wait for a provider's batch, and the message of one of them."""
        rows = self.read(
            "SELECT count(*), max(detail) FROM annotations WHERE rejection = ?", Rejection.PENDING
        )
        count, detail = next(rows)
        return int(count), str(detail or "")

    def annotations(self, image_sha256: str) -> list[AnnotationRow]:
        """All attempts, by number and attempt."""
        rows = self.read(
            f"SELECT {ANNOTATION_COLUMNS} FROM annotations "
            "WHERE shelf = ? AND image_sha256 = ? ORDER BY number, attempt",
            self.shelf(image_sha256),
            image_sha256,
        )
        return [row_of(AnnotationRow, row) for row in rows]

    def add_annotation(self, row: AnnotationRow) -> None:
        self.insert("annotations", {**columns_of(row), "shelf": self.shelf(row.image_sha256)})

    def reject(self, row: AnnotationRow, reason: Rejection, detail: str = "") -> None:
        self.write(
            "UPDATE annotations SET rejection = ?, detail = ? "
            "WHERE shelf = ? AND image_sha256 = ? AND number = ? AND attempt = ?",
            str(reason),
            detail,
            self.shelf(row.image_sha256),
            row.image_sha256,
            row.number,
            row.attempt,
        )

    def answer(self, image_sha256: str, question: str, role: str, version: str) -> AnswerRow | None:
        rows = self.read(
            f"SELECT {ANSWER_COLUMNS} FROM answers "
            "WHERE shelf = ? AND image_sha256 = ? AND question = ? AND role = ? AND version = ?",
            self.shelf(image_sha256),
            image_sha256,
            question,
            role,
            version,
        )
        return next((row_of(AnswerRow, row) for row in rows), None)

    def add_answer(self, row: AnswerRow) -> None:
        """Adds an answer. An answer that is there is never replaced."""
        shelf = self.shelf(row.image_sha256)
        self.insert("answers", {**columns_of(row), "shelf": shelf}, replaces=False)

    def usage(self) -> dict[str, Usage]:
        """Tokens and dollars of every call that was made, by role; saved calls are left out.

        Ledgers before schema 2 have none.
        """
        if schema_of(self) < 2:
            return {}
        sums = ", ".join(f"sum({column} * (1 - cached))" for column in USAGE_COLUMNS)
        rows = [
            *self.read(f"SELECT 'teacher', {sums} FROM annotations HAVING count(*)"),
            *self.read(f"SELECT role, {sums} FROM answers GROUP BY role"),
        ]
        found: dict[str, Usage] = {}
        for role, *counts in rows:
            found[role] = found.get(role, Usage()) + Usage(*counts)
        return found

    def cell(self, image_sha256: str, number: int) -> str:
        """Cell of the annotation in this round; "" until it is identified."""
        statement = (
            "SELECT cell FROM records "
            "WHERE shelf = ? AND image_sha256 = ? AND number = ? AND round = ?"
        )
        rows = self.read(statement, self.shelf(image_sha256), image_sha256, number, self.round)
        return next((cell for (cell,) in rows), "")

    def decision(self, image_sha256: str, number: int) -> tuple[Cell, str, str] | None:
        """Cell of this round, and the matchers of teacher and student that decided on it."""
        statement = (
            "SELECT cell, matcher, student_matcher FROM records "
            "WHERE (shelf, image_sha256, number, round) = (?, ?, ?, ?)"
        )
        shelf = self.shelf(image_sha256)
        for cell, matcher, of_student in self.read(
            statement, shelf, image_sha256, number, self.round
        ):
            return Cell(cell), matcher, of_student or matcher
        return None

    def add_record(
        self, image_sha256: str, number: int, cell: Cell, matcher: str, student_matcher: str = ""
    ) -> None:
        record: dict[str, Value] = {
            "shelf": self.shelf(image_sha256),
            "image_sha256": image_sha256,
            "number": number,
            "cell": str(cell),
            "matcher": matcher,
            "round": self.round,
            "student_matcher": student_matcher,
        }
        self.insert("records", record)

    def records(self) -> Iterator[Record]:
        """Every annotation identified in this round, by shelf, image and number."""
        rows = self.read(
            "SELECT path, r.image_sha256, question, answer, cell, held_out, origin FROM records r "
            "JOIN images i ON i.sha256 = r.image_sha256 AND i.rejection = '' "
            "JOIN annotations a ON a.shelf = r.shelf AND a.image_sha256 = r.image_sha256 "
            "AND a.number = r.number AND a.rejection = '' "
            "WHERE round = ? ORDER BY r.shelf, r.image_sha256, r.number",
            self.round,
        )
        for path, image_sha256, question, answer, cell, held_out, origin in rows:
            yield Record(path, image_sha256, question, answer, Cell(cell), bool(held_out), origin)

    def cell_counts(self) -> dict[Cell, int]:
        """Number of records of this round in each cell, whether or not their annotations stand."""
        rows = self.read(
            "SELECT cell, count(*) FROM records WHERE round = ? GROUP BY cell", self.round
        )
        return {Cell(cell): int(count) for cell, count in rows}

    def add_score(
        self,
        question_set: str,
        image_sha256: str,
        question: str,
        role: str,
        version: str,
        kind: str,
        score: float,
    ) -> None:
        self.insert(
            "scores",
            {
                "question_set": question_set,
                "image_sha256": image_sha256,
                "question": question,
                "role": role,
                "version": version,
                "kind": kind,
                "score": score,
            },
        )
