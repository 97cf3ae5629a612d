"""Numbers lead to their records, choices narrow them, words find them, runs are compared."""

import re

import pytest

pytestmark = pytest.mark.slow


def counted(page):
    """The number in the heading of a list of records."""
    return int(re.sub(r"\D", "", page.locator("h1").inner_text()))


def follow(page, link):
    with page.expect_navigation():
        link.click()


@pytest.mark.parametrize("cell", ["gap", "noise_both_wrong", "known", "noise_student_right"])
def test_each_of_the_four_cells_leads_to_its_records(page, site, cell):
    page.goto(f"{site}/runs/a/overview")
    link = page.locator(f".quadrant.{cell} a")
    number = int(link.inner_text())
    assert number > 0
    follow(page, link)
    assert counted(page) == number == page.locator("li.record").count()
    assert page.locator(f"li.record .badge.{cell}").count() == number
    page.go_back()
    assert page.url.endswith("/overview")


def test_facets_narrow_widen_and_are_taken_back(page, site):
    page.goto(f"{site}/runs/a/records")
    whole = counted(page)
    cells = page.locator("#facets .facet").first
    follow(page, cells.get_by_role("link").first)
    one = counted(page)
    assert 0 < one < whole
    assert "chosen" in page.locator("#facets a.on").inner_text()
    follow(page, cells.locator("a:not(.on)").first)
    assert counted(page) > one
    follow(page, page.get_by_role("link", name="Show all"))
    assert counted(page) == whole


def test_words_are_searched_from_the_keyboard(page, site):
    page.goto(f"{site}/runs/a/records")
    page.keyboard.press("/")
    page.keyboard.type('"the thing 4"')
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert counted(page) == 1
    assert "the thing 4?" in page.locator("li.record").inner_text()
    assert page.locator("li.record img").evaluate(
        "image => image.decode().then(() => image.naturalWidth)"
    )


def test_keys_go_from_record_to_record(page, site):
    page.goto(f"{site}/runs/a/records?cell=gap")
    names = page.locator("a[data-record]").all_inner_texts()
    for key, at in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.innerText") == names[at]
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("h1").inner_text() == names[1]
    with page.expect_navigation():
        page.keyboard.press("j")
    assert page.locator("h1").inner_text() == names[2]


def test_keys_are_turned_off_on_every_page_until_they_are_turned_on(page, site):
    page.goto(f"{site}/runs/a/records?cell=gap")
    page.get_by_role("button", name="Turn keys off").click()
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement === document.body")
    page.get_by_role("button", name="Turn keys on").click()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"


def test_two_runs_are_chosen_and_compared(page, site):
    page.goto(f"{site}/runs")
    page.get_by_label("Compare").select_option("a")
    page.get_by_label("with").select_option("b")
    follow(page, page.get_by_role("button", name="Compare"))
    assert page.locator("h1").inner_text() == "a and b"
    assert page.locator("#moved").is_visible()
    shown = page.evaluate(
        "fetch(location.pathname + '.json' + location.search).then(r => r.json())"
    )
    assert str(shown["left"]["records"]) in page.locator("main").inner_text()
