"""The page of reviews: the figures of all of them, without reading them for each request."""

from contextlib import closing
from dataclasses import asdict

from services.core.reviews import checked_review
from services.orchestrator.audit.review_figures import MOST_PAIRED, review_figures
from services.orchestrator.run.ledger.review_book import FILE, writing_reviews
from services.orchestrator.run.run import read_run
from services.orchestrator.ui import rendering
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.review_summary import MOST_PAIRS, MOST_REVIEWERS, read_reviews
from services.orchestrator.ui.upkeep import open_catalogue, renew_now
from tests.orchestrator.ui.exhibits import make_run

REVIEWERS = [f"reviewer {number:03}" for number in range(MOST_REVIEWERS + 2)]
GIVEN = [("accept", ""), ("reject", ""), ("correct", "Blue"), ("correct", "blue"), ("skip", "")]


def page_of(folder):
    """The page's content and its text, once the catalogue is up to date."""
    renewed = renew_now(folder, lambda *_: None)
    with read_run(folder) as run, closing(open_catalogue(run)) as catalogue:
        view = read_reviews(OpenedRun(folder.name, run, catalogue, renewed))
    content = {"view": view, "document": "", "address": "/runs", "reviewer": "Ann"}
    return view, rendering.page("reviews.html", content).body.decode()


def test_the_page_has_the_figures_of_all_reviews_and_reads_none_of_them(tmp_path):
    folder = make_run(tmp_path / "a", tmp_path / "pool", images=2)
    assert "Nobody has reviewed" in page_of(folder)[1]
    with writing_reviews(folder) as book, book.at_once():
        for number in range(600):
            label = (f"{number // 3:064}", "is it red?", "yes")
            review = checked_review(REVIEWERS[number % 4], *GIVEN[number % 5])
            book.add(number // 3 % 7, label, review)
    with writing_reviews(folder) as book:
        wanted = review_figures({**book.every()})
    view, page = page_of(folder)
    found = view.document()
    assert found["states"] == wanted.states
    assert found["reviewers"] == wanted.reviewers
    assert found["pairs"] == [asdict(pair) for pair in wanted.pairs]
    assert "Cohen's kappa</caption>" in page
    (folder / FILE).rename(tmp_path / "elsewhere")
    with read_run(folder) as run, closing(open_catalogue(run)) as catalogue:
        kept = read_reviews(OpenedRun(folder.name, run, catalogue, view.renewed))
    assert kept.figures == view.figures
    assert page_of(folder)[0].document()["states"] == {}


def test_the_tables_have_a_bounded_number_of_lines(tmp_path):
    folder = make_run(tmp_path / "a", tmp_path / "pool", images=2)
    with writing_reviews(folder) as book, book.at_once():
        for reviewer in REVIEWERS:
            book.add(0, ("f" * 64, "q?", "a"), checked_review(reviewer, "accept"))
        for reviewer in REVIEWERS[7:9]:
            book.add(0, ("e" * 64, "q?", "a"), checked_review(reviewer, "accept"))
    view, page = page_of(folder)
    assert len(view.document()["pairs"]) == MOST_PAIRED * (MOST_PAIRED - 1) // 2
    assert [len(view.pairs), len(view.reviewers)] == [MOST_PAIRS, MOST_REVIEWERS]
    assert (view.pairs[0].one, view.pairs[0].other) == tuple(REVIEWERS[7:9])
    assert f"the {MOST_REVIEWERS} of {len(REVIEWERS)} with the most records" in page
    assert page.count("<tr>") == MOST_PAIRS + MOST_REVIEWERS + 4
