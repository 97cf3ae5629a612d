"""Content of the page of a run's reviews: verdicts, reviewers, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.orchestrator.audit.review_figures import REVIEWS, ReviewerPair, ReviewFigures
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document
from services.orchestrator.ui.upkeep import Renewed

MOST_REVIEWERS = 100
MOST_PAIRS = 50
"""Most lines of a table. All pairs are in the document."""


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """The page. Its figures are the catalogue's, which `renewed` tells the age of."""

    run: str
    figures: ReviewFigures | None
    """None before the reviews are counted for the first time."""
    renewed: Renewed

    @property
    def reviewers(self) -> Sequence[tuple[str, int]]:
        """Reviewers with the most records, and their records."""
        found = self.figures.reviewers.items() if self.figures else ()
        return sorted(found, key=lambda each: (-each[1], each[0]))[:MOST_REVIEWERS]

    @property
    def pairs(self) -> Sequence[ReviewerPair]:
        """Pairs that share the most records."""
        found = self.figures.pairs if self.figures else ()
        return sorted(found, key=lambda pair: (-pair.records, pair.one, pair.other))[:MOST_PAIRS]

    def document(self) -> Document:
        figures = asdict(self.figures) if self.figures else {}
        for name in ("alpha", "matchers"):  # mpa-orch audit reviews
            figures.pop(name, None)
        return {"run": self.run, **figures, "renewed": asdict(self.renewed)}


def read_reviews(opened: OpenedRun) -> ReviewSummary:
    note = opened.catalogue.note(REVIEWS)
    figures = ReviewFigures.from_json(note) if note else None
    return ReviewSummary(opened.name, figures, opened.renewed)
