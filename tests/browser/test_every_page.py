"""Every page: no finding of axe-core, no sideways scrolling, everything by keyboard."""

import pytest

from services.orchestrator.audit.page import data_uri, render
from services.orchestrator.audit.sheet import Sheet, SheetChoice, SheetItem, SheetQuestion
from tests.browser.axe import REACHABLE, walk
from tests.browser.reviewer import become
from tests.pictures import png

pytestmark = pytest.mark.slow

PAGES = {
    "runs": "/runs",
    "overview and kinds": "/runs/a/overview",
    "records": "/runs/a/records",
    "chosen records": "/runs/a/records?cell=gap&q=color&order=agreement",
    "no record": "/runs/a/records?q=nothing",
    "reviews": "/runs/a/reviews",
    "verdict": "/runs/a/verdict",
    "comparison": "/compare?left=a&right=b",
    "run at rest": "/runs/a/live",
    "run that is not there": "/runs/none",
    "wrong address": "/runs/a/records?order=none",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_explorer_has_no_finding(page, site, axe, name):
    page.allowed = ["status of 40"]
    page.goto(site + PAGES[name])
    assert axe.findings(page, name) == []


@pytest.mark.parametrize("chosen", ["cell=gap", "refused=IMAGE_UNREADABLE"])
def test_a_record_has_no_finding(page, site, axe, chosen):
    page.goto(f"{site}/runs/a/records?{chosen}")
    page.locator("a[data-record]").first.click()
    page.wait_for_load_state()
    page.allowed = ["status of 404"]  # the refused image
    assert axe.findings(page, chosen) == []


def test_the_forms_of_a_reviewer_have_no_finding(page, own, axe):
    _, site, _ = own
    become(page, site, "Ann")
    page.get_by_text("records at once").click()
    assert axe.findings(page, "list with forms") == []
    record = page.locator("a[data-record]").first.get_attribute("href")
    page.goto(site + record)
    page.get_by_label("Right answer").fill("green")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(site + record)
    page.get_by_text("Another reviewer").click()
    assert "corrected" in page.locator("main").inner_text()
    assert axe.findings(page, "record with reviews") == []
    page.goto(f"{site}/runs/a/reviews")
    assert axe.findings(page, "reviews") == []


@pytest.mark.parametrize("width", [360, 1024])
@pytest.mark.parametrize(
    "path", ["/runs", "/runs/a/overview", "/runs/a/records?cell=gap", "/runs/a/verdict"]
)
def test_the_tab_key_reaches_everything_and_the_focus_is_seen(page, site, path, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(site + path)
    reached = walk(page)
    assert "Skip to content" in reached[0]["html"]
    assert len(reached) == page.evaluate(REACHABLE)
    assert [each["html"] for each in reached if not each["isSeen"]] == []
    assert [each["html"] for each in reached if not each["isInView"]] == []


def test_a_page_of_the_audit_has_no_finding_and_is_operated_by_the_tab_key(page, tmp_path, axe):
    choices = (SheetChoice("yes", "Yes"), SheetChoice("no", "No"))
    asked = [SheetQuestion(key, f"Is it {key}?", choices, "A hint.") for key in ("right", "clear")]
    texts = (("Question", "<b>what</b> \u202egnp?"), ("Answer", "W" * 2000))
    items = [SheetItem(name, data_uri(png()), texts) for name in "12"]
    file = tmp_path / "sheet.html"
    file.write_text(render(Sheet("a", "Audit of a", "Judge each item.", asked, items)))
    page.goto(file.as_uri())
    assert axe.findings(page, "audit") == []
    reached = walk(page)
    assert [each["html"] for each in reached if not each["isSeen"]] == []
    assert sum('type="radio"' in each["html"] for each in reached) == len(asked)
    page.locator("input[name=clear]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("u")
    page.locator("input[name=right]").first.focus()
    page.keyboard.press("2")
    assert "1 answered" in page.locator("#place").inner_text()
    page.get_by_role("button", name="In full size").press("Enter")
    assert page.get_by_role("button", name="In full size", pressed=True).is_visible()
    page.get_by_role("button", name="Turn keys off").press("Enter")
    page.keyboard.press("ArrowRight")
    assert "item 1 " in page.locator("#place").inner_text()
    page.get_by_role("button", name="Turn keys on").press("Enter")
    page.keyboard.press("ArrowRight")
    assert "item 2 " in page.locator("#place").inner_text()
    page.get_by_role("button", name="Save answers").press("Enter")
    assert "Give your name" in page.locator("#said").inner_text()
    assert axe.findings(page, "audit with a sentence") == []
