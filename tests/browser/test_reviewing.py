"""Reviews by keyboard, by several people at once, and pages of a run that changes or goes."""

import shutil
from contextlib import ExitStack

import pytest

from services.orchestrator.run.journal import Journal, StageProgress
from services.orchestrator.run.ledger.review_book import reading_reviews
from services.orchestrator.run.run import locked
from services.orchestrator.ui.event_streams import MOST_STREAMS
from tests.browser.reviewer import become
from tests.browser.strict import strict_page
from tests.waiting import until_true

pytestmark = pytest.mark.slow


def verdicts(folder):
    """Sorted reviews: reviewer, verdict, correction."""
    with reading_reviews(folder) as book:
        given = [one for each in book.every().values() for one in each]
    return sorted((one.reviewer, one.verdict, one.correction) for one in given)


def press(page, key):
    with page.expect_navigation():
        page.keyboard.press(key)


def test_a_record_is_reviewed_by_single_keys_and_the_next_one_comes(page, own):
    folder, site, _ = own
    become(page, site, "Ann")
    page.keyboard.press("j")
    press(page, "Enter")
    questions = [page.locator("h1").inner_text()]
    for key in "ar":
        press(page, key)
        questions.append(page.locator("h1").inner_text())
    page.keyboard.press("c")
    page.keyboard.type("a <b>s car")
    press(page, "Enter")
    questions.append(page.locator("h1").inner_text())
    assert len(set(questions)) == len(questions) == 4
    assert verdicts(folder) == [
        ("Ann", "accept", ""),
        ("Ann", "correct", "a <b>s car"),
        ("Ann", "reject", ""),
    ]


def test_a_record_of_a_list_is_reviewed_there_and_keeps_the_focus(page, own):
    folder, site, _ = own
    become(page, site, "Ann")
    page.keyboard.press("j")
    page.keyboard.press("j")
    question = page.evaluate("document.activeElement.innerText")
    press(page, "a")
    page.locator("a[data-record]:focus").filter(has_text=question).wait_for()
    assert "people: accepted" in page.locator("li.record:focus-within").inner_text()
    assert verdicts(folder) == [("Ann", "accept", "")]


def test_two_reviewers_at_once_see_each_other_and_lose_nothing(browser, own):
    folder, site, _ = own
    with strict_page(browser) as ann, strict_page(browser) as bob:
        for page, name in ((ann, "Ann"), (bob, "Bob")):
            become(page, site, name)
            page.keyboard.press("j")
            press(page, "Enter")
        address = ann.url
        assert bob.url == address
        press(ann, "a")
        press(bob, "r")
        ann.goto(address)
        shown = ann.locator("#reviews").inner_text()
        assert "Ann: accept" in shown
        assert "Bob: reject" in shown
        assert "disputed" in ann.locator(".badges").inner_text()
        press(ann, "r")
        ann.goto(f"{site}/runs/a/reviews")
        assert "rejected" in ann.locator("main").inner_text()
    assert verdicts(folder) == [
        ("Ann", "accept", ""),
        ("Ann", "reject", ""),
        ("Bob", "reject", ""),
    ]


def test_a_page_left_open_follows_the_run_until_it_is_deleted(page, own, axe):
    """The focus stays where it was while the page renews itself."""
    folder, site, _ = own
    with locked(folder):
        journal = Journal(folder)
        journal.note(StageProgress("level", "samples", 3, 10, 2.0, 3.5, "loss 0.412 <b>"))
        page.goto(f"{site}/runs/a/live")
        assert "3 of 10 samples" in page.locator("#stages ~ *").first.inner_text()
        assert axe.findings(page, "run at work") == []
        link = page.locator("a[data-record]").first
        link.focus()
        focused = page.evaluate("document.activeElement.href")
        journal.note(StageProgress("level", "samples", 7, 10, 2.0, 1.5, "loss 0.3"))
        page.get_by_text("7 of 10 samples").wait_for()
        assert page.evaluate("document.activeElement.href") == focused
        page.locator("[role=group]").first.focus()
        journal.note(StageProgress("level", "samples", 9, 10, 2.0, 0.5, "loss 0.2"))
        page.get_by_text("9 of 10 samples").wait_for()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Stages"
        shutil.move(folder, folder.with_name("elsewhere"))
        page.allowed = ["status of 404"]
        page.get_by_text("is no longer there").wait_for()
    assert axe.findings(page, "deleted run") == []
    page.reload()
    assert "there is no run" in page.locator("main").inner_text()


def test_a_page_left_open_shows_the_end_of_the_run(page, own):
    folder, site, _ = own
    with locked(folder):
        Journal(folder).note(StageProgress("level", "samples", 3, 10, 2.0, 3.5, ""))
        page.goto(f"{site}/runs/a/live")
        page.get_by_text("3 of 10 samples").wait_for()
    page.get_by_role("link", name="See the result").click()
    page.wait_for_url("**/overview")


def test_a_page_without_a_place_for_its_events_asks_by_itself(page, own):
    """All places are taken; the page's clock is turned forward by its half minute."""
    folder, site, client = own
    with locked(folder), ExitStack() as others:
        Journal(folder).note(StageProgress("level", "samples", 3, 10, 2.0, 3.5, ""))
        events = f"{site}/runs/a/live/events"
        for _ in range(MOST_STREAMS):
            others.enter_context(client.stream("GET", events))
        refused = client.get(events)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) == 30
        page.allowed = ["status of 429"]
        page.clock.install()
        with page.expect_response("**/live/events"):
            page.goto(f"{site}/runs/a/live")
        page.get_by_text("3 of 10 samples").wait_for()
        Journal(folder).note(StageProgress("level", "samples", 7, 10, 2.0, 1.5, ""))
        renewed = page.get_by_text("7 of 10 samples")
        until_true(lambda: page.clock.run_for(30_000) or renewed.is_visible())


def test_a_run_deleted_while_its_records_are_open_is_said_to_be_gone(page, own):
    folder, site, _ = own
    page.goto(f"{site}/runs/a/records?cell=gap")
    shutil.rmtree(folder)
    page.allowed = ["status of 404"]
    with page.expect_navigation():
        page.locator("a[data-record]").first.click()
    assert "there is no run" in page.locator("main").inner_text()
    page.get_by_role("link", name="All runs").click()
    page.wait_for_url("**/runs")
