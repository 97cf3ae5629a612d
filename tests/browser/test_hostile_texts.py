"""Texts of strangers in a run: shown as they are, without harm to the page around them."""

from contextlib import closing
from urllib.parse import quote, unquote

import pytest

from services.core.parity import Cell
from services.engines.images import sha256
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from tests.browser.axe import EXCESS, WIDTHS
from tests.browser.strict import address
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted
from tests.pictures import png

pytestmark = pytest.mark.slow

MARKUP = "</bdi></title><script>alert(1)</script><img src=x onerror=alert(1)><style>*{color:red}"
BACKWARDS = "\u202egnp.exe \u2066 \u200f שלום"
LONG = "W" * 102_400
IMAGE = png("teal")
RUN = quote("<b>&'\"")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Address of an explorer over a run whose name, files and texts are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    run = make_run(folder / "runs" / unquote(RUN), folder / "pool", images=1)
    name = f"{MARKUP[:100].replace('/', '')}{BACKWARDS}.png"
    (folder / "pool" / name).write_bytes(IMAGE)
    image = sha256(IMAGE)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow(name, image, step=2))
        for number, question in enumerate((f"{MARKUP} {BACKWARDS}?", f"long {LONG}?")):
            row = AnnotationRow(image, number, 0, LONG, question, MARKUP, "", 1, "t" * 64)
            ledger.add_annotation(row)
            answer = LONG if number else MARKUP + BACKWARDS
            ledger.add_answer(AnswerRow(image, question, "student", "v1", answer, "c", "identify"))
            ledger.add_record(image, number, Cell.GAP, "exact@1")
    with serving(folder / "runs") as client:
        until_counted(client, RUN)
        yield address(client)


def require_untouched(page):
    """Nothing of the texts has become an element, and the layout holds."""
    made = page.locator("script:not([src]), img[onerror], style, bdi script")
    assert made.count() == 0
    for width in reversed(WIDTHS):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(EXCESS) == 0, width


def test_lists_show_them_as_text(page, hostile):
    page.goto(f"{hostile}/runs")
    require_untouched(page)
    page.locator("tbody th a").click()
    page.wait_for_url("**/overview")
    require_untouched(page)
    page.allowed = ["status of 404"]  # the refused image
    page.goto(f"{hostile}/runs/{RUN}/records")
    assert MARKUP in page.locator("main").inner_text()
    require_untouched(page)


@pytest.mark.parametrize(
    ("words", "begin"), [("script", MARKUP), ("long", "long WWW")], ids=["markup", "long"]
)
def test_a_record_shows_them_as_text_and_keeps_them_within_its_box(
    page, hostile, axe, words, begin
):
    page.goto(f"{hostile}/runs/{RUN}/records?cell=gap&order=newest")
    page.locator("a[data-record]").filter(has_text=begin[:20]).first.click()
    page.wait_for_url("**/records/*")
    assert page.locator("h1").inner_text().startswith(begin)
    require_untouched(page)
    for box in page.locator(".long").all():
        found = box.bounding_box()
        assert found["width"] <= 360
        assert found["height"] <= 300
    assert axe.findings(page, f"hostile record {words}", (360,), ("dark",)) == []


def test_marks_of_direction_do_not_leave_their_text(page, hostile):
    page.goto(f"{hostile}/runs/{RUN}/records?cell=gap&order=newest")
    texts = page.locator("h2 a, dd, bdi").filter(has_text="gnp.exe")
    assert texts.count() > 0
    for text in texts.all():
        assert text.evaluate(
            "text => getComputedStyle(text.closest('bdi, [dir=auto]')).unicodeBidi"
        ).startswith(("isolate", "plaintext"))
