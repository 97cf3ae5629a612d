"""Agreement of reviewers and of matchers with people, against counts by hand."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from services.core.agreement import kappa
from services.core.parity import NOISE
from services.core.reviews import checked_review
from services.orchestrator.audit.review_figures import (
    MOST_PAIRED,
    MOST_PAIRS,
    ReviewTally,
    review_figures,
)
from services.orchestrator.cli.main import app
from services.orchestrator.run.ledger.review_book import FILE, ReviewBook
from services.orchestrator.run.run import read_run
from tests.orchestrator.ui.exhibits import make_run


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}, 0.4),
        ({("y", "y"): 3, ("n", "n"): 1}, 1.0),
        ({("y", "n"): 1, ("n", "y"): 1}, -1.0),
        ({("y", "y"): 5}, None),
        ({}, None),
    ],
)
def test_kappa_is_cohens(pairs, wanted):
    assert kappa(pairs) == (None if wanted is None else pytest.approx(wanted))


def test_reviewers_are_compared_on_what_both_have_judged():
    def said(**verdicts):
        return [checked_review(name, *text.split()) for name, text in verdicts.items()]

    reviews = {
        ("a", "q", "x"): said(ann="accept", bob="accept"),
        ("b", "q", "x"): said(ann="correct red", bob="correct RED"),
        ("c", "q", "x"): said(ann="reject", bob="accept"),
        ("d", "q", "x"): said(ann="reject", bob="skip"),
        ("e", "q", "x"): said(bob="skip"),
    }
    found = review_figures(reviews)
    assert found.states == {
        "accepted": 1,
        "corrected": 1,
        "rejected": 1,
        "skipped": 1,
        "disputed": 1,
    }
    assert found.reviewers == {"ann": 4, "bob": 3}
    (pair,) = found.pairs
    assert (pair.one, pair.other, pair.records) == ("ann", "bob", 3)
    assert pair.kappa == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    assert found.alpha is not None
    assert 0.3 < found.alpha < 0.7


def test_any_number_of_names_makes_a_bounded_number_of_pairs():
    names = [f"name {number:04}" for number in range(1000)]
    given = [checked_review(name, "accept") for name in names]
    reviews = {(f"{first:064}", "q", "x"): given[first:] for first in range(0, 1000, 100)}
    tally = ReviewTally()
    tally.add(reviews)
    found = tally.figures()
    assert len(found.pairs) == MOST_PAIRS
    assert len(found.reviewers) == 1000
    assert sum(pair.records for pair in found.pairs) < MOST_PAIRED**2 * len(reviews)


def test_the_command_holds_the_runs_matcher_against_people(tmp_path):
    run = make_run(tmp_path / "a", tmp_path / "pool", images=20)
    with read_run(run) as opened, closing(ReviewBook(run / FILE)) as book:
        records = list(opened.ledger.records())
        for record in records:
            verdict = "reject" if record.cell in NOISE else "accept"
            label = record.image_sha256, record.question, record.answer
            book.add(0, label, checked_review("ann", verdict))
    told = CliRunner().invoke(app, ["audit", "reviews", str(run), "--json"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.output)
    noise = sum(record.cell in NOISE for record in records)
    assert document["states"] == {"accepted": len(records) - noise, "rejected": noise}
    own = document["matchers"][0]
    # In this run every teacher's answer equals its annotation, whatever the cells say.
    assert (own["matcher"], own["records"]) == ("exact", len(records))
    assert (own["wrongly_kept"], own["wrongly_left"], own["kappa"]) == (noise, 0, 0.0)
    table = CliRunner().invoke(app, ["audit", "reviews", str(run)])
    assert "wrongly kept" in table.output
    assert f"{noise} rejected" in table.output


def test_a_run_without_reviews_says_so(tmp_path):
    run = make_run(tmp_path / "a", tmp_path / "pool", images=1)
    told = CliRunner().invoke(app, ["audit", "reviews", str(run)])
    assert "nobody has reviewed" in told.output
