"""The student's page: an image is chosen, pasted or dropped, a question asked, an answer judged."""

import base64
import json

import pytest

from services.engines.fake import true_answer
from services.engines.images import sha256
from tests.browser.axe import REACHABLE, walk
from tests.pictures import png

pytestmark = pytest.mark.slow

IMAGE = png("red")
QUESTION = "what color is it?"
WICKED = "<script>alert(1)</script><img src=x onerror=alert(1)> \u202egnp.exe"
TRANSFER = """sent => {
  const bytes = Uint8Array.from(atob(sent), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "drawn.png", { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""
COPY = """sent => {
  const bytes = Uint8Array.from(atob(sent), (sign) => sign.charCodeAt(0));
  const copied = new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) });
  return navigator.clipboard.write([copied]);
}"""


def chosen(name="a.png", image=IMAGE):
    return {"name": name, "mimeType": "image/png", "buffer": image}


def text(image):
    return base64.b64encode(image).decode()


def ask(page, question):
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#columns article dl:visible").nth(1).wait_for()


def test_an_uploaded_image_is_asked_about_and_the_answer_judged(page, student, axe):
    url, samples = student
    page.goto(f"{url}/try")
    assert axe.findings(page, "empty page") == []
    page.get_by_label("Image", exact=True).set_input_files(chosen())
    assert page.locator("#preview img").evaluate("image => image.decode().then(() => true)")
    ask(page, QUESTION)
    live, candidate = page.locator("#columns article").all()
    assert live.locator("h3").inner_text() == "Live version"
    right = true_answer(sha256(IMAGE), QUESTION)
    assert live.locator("p.said").inner_text() == right
    assert candidate.locator("p.said").inner_text() != right
    assert axe.findings(page, "answers") == []
    live.get_by_role("button", name="Right").press("Enter")
    page.get_by_text("Kept as right").wait_for()
    candidate.get_by_role("button", name="Wrong").press("Space")
    page.get_by_text("Kept as wrong").wait_for()
    assert axe.findings(page, "judged answers") == []
    lines = [line for path in samples.glob("*/samples.jsonl") for line in path.open()]
    judged = {kept["verdict"]: kept for kept in map(json.loads, lines)}
    assert judged["up"]["answer"] == right
    assert set(judged) == {"up", "down"}


def test_an_image_is_pasted_or_dropped(page, student):
    url, _ = student
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}/try")
    page.evaluate(COPY, text(png("blue")))
    page.keyboard.press("Control+V")
    page.locator("#preview img").wait_for()
    assert page.evaluate("document.getElementById('image').files.length") == 1
    ask(page, "is it blue?")
    page.evaluate(TRANSFER, text(IMAGE))
    page.get_by_text("drawn.png is chosen.").wait_for()
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text(true_answer(sha256(IMAGE), QUESTION), exact=True).first.wait_for()


def test_the_page_is_operated_by_keyboard_alone(page, student):
    url, _ = student
    page.goto(f"{url}/try")
    reached = walk(page)
    assert len(reached) == page.evaluate(REACHABLE)
    assert [each["html"] for each in reached if not each["isSeen"]] == []


def test_a_wrong_image_and_hostile_texts_are_text(page, student, axe):
    url, _ = student
    page.set_viewport_size({"width": 360, "height": 900})
    page.goto(f"{url}/try")
    page.get_by_label("Image", exact=True).set_input_files(chosen(f"{WICKED}.png"))
    ask(page, f"{WICKED} {'x' * 500}")
    assert page.locator("#asked").inner_text().startswith(WICKED[:40])
    assert axe.findings(page, "hostile question") == []
    page.get_by_label("Image", exact=True).set_input_files(chosen(image=b"no image at all"))
    page.allowed = ["status of 400"]
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#progress").filter(has_text="image").wait_for()
    assert page.locator("#columns").is_visible()
    assert axe.findings(page, "refused image") == []


def test_answers_and_troubles_are_shown_without_scripts(browser, student, axe):
    """axe-core needs a script: it looks at what the page without scripts is made of."""
    url, _ = student
    context = browser.new_context(java_script_enabled=False)
    with_none = context.new_page()
    with_none.goto(f"{url}/try")
    with_none.get_by_label("Image", exact=True).set_input_files(chosen())
    with_none.get_by_label("Question").fill(QUESTION)
    with_none.get_by_role("button", name="Ask", exact=True).click()
    with_none.get_by_text(true_answer(sha256(IMAGE), QUESTION), exact=True).first.wait_for()
    with_none.get_by_role("button", name="Right").first.click()
    with_none.get_by_text("Kept as a sample for the next round").wait_for()
    context.close()
