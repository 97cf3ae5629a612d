"""Label Studio's export becomes reviews of a run, in the explorer's store: all of it or nothing."""

import json
import shutil
from datetime import datetime

import pytest

from services.core.reviews import ReviewState, checked_review
from services.orchestrator.run.ledger.review_book import (
    FILE,
    count_verdicts,
    reading_reviews,
    writing_reviews,
)
from tests.orchestrator.exports.test_labelstudio import reviewed, tasks_of
from tests.orchestrator.run.runs import said

AT = "2026-11-30T12:00:00.5Z"
LATER = "2026-12-01T12:00:00+02:00"


@pytest.fixture
def copied(run, tmp_path):
    """The run of all tests, to be reviewed."""
    return shutil.copytree(run, tmp_path / "copied")


@pytest.fixture
def tasks(export):
    return tasks_of(export("labelstudio", "--all"))


def brought(folder, tasks, code=0):
    path = folder.parent / "export.json"
    path.write_text(json.dumps(tasks))
    return said("runs", "corrections", path, "--run", folder, code=code)


def label(task):
    data = task["data"]
    return data["image_sha256"], data["question"], data["answer"]


def states(folder):
    with reading_reviews(folder) as book:
        return {of: found.state for of, found in count_verdicts(book.every()).items()}


def by(email, at=AT):
    return {"completed_by": {"id": 1, "email": email}, "updated_at": at}


def test_annotators_are_reviewers_and_their_verdicts_count_once(copied, tasks):
    first, second, third, fourth, fifth, *_ = tasks
    export = [
        reviewed(reviewed(first, "accept", **by("a@b.c")), "reject", **by("d@e.f", LATER)),
        reviewed(second, "accept", "seven", **by("a@b.c", LATER)),
        reviewed(third, "accept", **by("a@b.c")),
        reviewed(fourth, "accept", "seven", "What else?", **by("a@b.c")),
        reviewed(fifth, "accept", was_cancelled=True, **by("a@b.c")),
    ]
    told = brought(copied, export)
    assert f"5 reviews added to {copied}: 2 accept, 1 correct, 2 reject" in told
    assert "1 with a changed question count as rejected" in told
    assert states(copied) == {
        label(first): ReviewState.DISPUTED,
        label(second): ReviewState.CORRECTED,
        label(third): ReviewState.ACCEPTED,
        label(fourth): ReviewState.REJECTED,
    }
    with reading_reviews(copied) as book:
        given = book.every()
    assert [(one.reviewer, one.at) for one in given[label(first)]] == [
        ("a@b.c", datetime.fromisoformat(AT).timestamp()),
        ("d@e.f", datetime.fromisoformat(LATER).timestamp()),
    ]
    assert given[label(second)][0].correction == "seven"
    kept = (copied / FILE).read_bytes()
    told = brought(copied, export)
    assert "0 reviews added" in told
    assert "5 not added" in told
    assert (copied / FILE).read_bytes() == kept
    assert "1 accepted, 1 corrected, 1 rejected, 1 disputed" in said("audit", "reviews", copied)


def test_a_later_verdict_of_the_explorer_stands_and_one_of_label_studio_replaces_it(copied, tasks):
    task = tasks[0]
    brought(copied, [reviewed(task, "accept", **by("ann"))])
    with writing_reviews(copied) as book:
        (review,) = book.every()[label(task)]
        (shelf,) = book.last_by_shelf()
        book.add(shelf, label(task), checked_review("ann", "reject", at=review.at + 1))
    brought(copied, [reviewed(task, "accept", **by("ann"))])
    assert states(copied) == {label(task): ReviewState.REJECTED}
    brought(copied, [reviewed(task, "accept", "green", **by("ann", LATER))])
    assert states(copied) == {label(task): ReviewState.CORRECTED}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"answer": "\u200b"}, "can't be seen"),
        ({"answer": "x" * 2000}, "2,000 characters"),
        ({"completed_by": None}, "completed_by, the annotator"),
        ({"completed_by": "x" * 80}, "reviewer's name"),
        ({"updated_at": "yesterday"}, "'yesterday' is none"),
        ({"updated_at": ""}, "is empty"),
        ({"updated_at": None}, "updated_at or created_at"),
    ],
)
def test_a_file_with_one_wrong_review_is_refused_whole(copied, tasks, wrong, complaint):
    right, task = tasks[:2]
    export = [reviewed(right, "accept", **by("ann")), reviewed(task, "accept", **by("ann") | wrong)]
    told = brought(copied, export, code=1)
    assert complaint in told
    assert not (copied / FILE).exists()


@pytest.mark.parametrize(("key", "value"), [("answer", "another"), ("image_sha256", "\ud83d\x1b")])
def test_a_file_of_another_run_is_refused_whole(copied, tasks, key, value):
    right, other = tasks[0], {**tasks[1], "data": {**tasks[1]["data"], key: value}}
    told = brought(copied, [reviewed(each, "accept", **by("ann")) for each in (right, other)], 1)
    image = ascii(other["data"]["image_sha256"][:12])[1:-1]
    assert f"the review of image {image}, question" in told
    assert "give the run whose export was reviewed" in told
    assert not (copied / FILE).exists()


def test_the_command_asks_for_a_run_or_a_file(copied):
    assert "--run" in said("runs", "corrections", "export.json", code=2)
