"""Content of the page of a run's reviews: verdicts, reviewers, and how far they agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from services.orchestrator.audit.review_figures import ReviewFigures, review_figures
from services.orchestrator.run.ledger.review_book import reading_reviews
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """The page. Alpha is not on it: its library would double the memory of the explorer."""

    run: str
    figures: ReviewFigures

    def document(self) -> Document:
        figures = asdict(self.figures)
        del figures["alpha"], figures["matchers"]  # mpa-orch audit reviews
        return {"run": self.run, **figures}


def read_reviews(opened: OpenedRun) -> ReviewSummary:
    with reading_reviews(opened.run.folder) as book:
        given = book.every() if book else {}
    return ReviewSummary(opened.name, review_figures(given, has_alpha=False))
