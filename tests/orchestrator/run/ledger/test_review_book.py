"""Reviews in their file: nothing is lost, several write, none makes the ledger wait."""

import subprocess
import sys
import threading
from contextlib import closing

import pytest

from services.core.errors import MpaError, WrongState
from services.core.reviews import Review, ReviewState, ReviewVerdict, checked_review
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.review_book import (
    FILE,
    ReviewBook,
    count_verdicts,
    reading_reviews,
    writing_reviews,
)

MAKES = """
import os, sys
from pathlib import Path
from services.core.reviews import checked_review
from services.orchestrator.run.ledger.review_book import writing_reviews

print("ready", flush=True)
for folder in sys.stdin:
    with writing_reviews(Path(folder.strip())) as book:
        book.add(0, ("f" * 64, "is it red?", "yes"), checked_review(str(os.getpid()), "accept"))
    print("written", flush=True)
"""
LABEL = ("f" * 64, "is it red?", "yes")


def test_a_later_verdict_replaces_an_earlier_one_and_the_history_stays(tmp_path):
    with closing(ReviewBook(tmp_path / FILE)) as book:
        book.add(3, LABEL, checked_review("ann", "reject", at=1.0))
        until = book.last_id()
        book.add(3, LABEL, checked_review("ann", "correct", "no", at=2.0))
    with reading_reviews(tmp_path) as book:
        assert [review.verdict for review in book.every()[LABEL]] == ["reject", "correct"]
        assert count_verdicts(book.on_shelf(3))[LABEL].correction == "no"
        assert count_verdicts(book.every(until))[LABEL].state is ReviewState.REJECTED
        assert book.of_image(3, "0" * 64) == book.on_shelf(2) == {}
        assert book.reviewed_by("ann") == {LABEL}
        assert book.last_by_shelf() == {3: 2}


def test_a_run_without_reviews_has_none(tmp_path):
    with reading_reviews(tmp_path) as book:
        assert book is None
    (tmp_path / FILE).touch()
    with reading_reviews(tmp_path) as book:
        assert book is None


def test_two_reviewers_write_at_once_while_a_run_holds_its_ledger(tmp_path):
    ReviewBook(tmp_path / FILE).close()

    def work(name):
        with closing(ReviewBook(tmp_path / FILE)) as book:
            for number in range(100):
                book.add(0, (f"{number:064}", "q?", "a"), checked_review(name, "accept"))

    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger, ledger.at_once():
        ledger.set_meta("id", "x")  # the run's writer has the ledger's lock all the time
        threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with reading_reviews(tmp_path) as book:
        assert [len(given) for given in book.every().values()] == [2] * 100


def test_processes_that_make_the_file_at_once_all_write(tmp_path):
    command = [sys.executable, "-c", MAKES]
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) for _ in range(3)
    ]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 3
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        for process in running:
            process.stdin.write(f"{folder}\n")
        assert [process.stdout.readline() for process in running] == ["written\n"] * 3
        with reading_reviews(folder) as book:
            assert len(book.every()[LABEL]) == 3
    for process in running:
        process.communicate()


def test_reviews_of_a_later_program_are_refused(tmp_path):
    with closing(ReviewBook(tmp_path / FILE)) as book:
        book.write("UPDATE meta SET value = '99'")
    with pytest.raises(WrongState, match="update the program"), reading_reviews(tmp_path):
        pass


@pytest.mark.parametrize(
    ("verdict", "correction"), [("maybe", ""), ("correct", "x\0"), ("correct", "")]
)
def test_a_row_that_no_form_could_have_written_is_told(tmp_path, verdict, correction):
    with closing(ReviewBook(tmp_path / FILE)) as book:
        book.add(0, LABEL, Review("ann", verdict, correction, 1.0))
    with reading_reviews(tmp_path) as book, pytest.raises(MpaError, match="can't be used"):
        book.every()


def test_a_correction_that_an_earlier_release_took_and_nobody_can_see_is_no_opinion(tmp_path):
    with closing(ReviewBook(tmp_path / FILE)) as book:
        book.add(0, LABEL, Review("ann", ReviewVerdict.CORRECT, "\u200b", 1.0))
    with reading_reviews(tmp_path) as book:
        assert count_verdicts(book.every())[LABEL].state is ReviewState.SKIPPED


def test_a_review_that_comes_again_or_late_is_not_added(tmp_path):
    with writing_reviews(tmp_path) as book:
        given = [("ann", "accept", 2.0), ("ann", "accept", 2.0), ("ann", "reject", 1.0)]
        given += [("bob", "reject", 1.0), ("ann", "reject", 3.0)]
        added = [
            book.add_later(0, LABEL, checked_review(name, verdict, at=at))
            for name, verdict, at in given
        ]
        assert added == [True, False, False, True, True]
        kept = [(one.reviewer, one.verdict, one.at) for one in book.every()[LABEL]]
    assert kept == [given[0], given[3], given[4]]
