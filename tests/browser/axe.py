"""Findings of axe-core, and of two rules that it doesn't have: sideways scrolling, lost focus."""

from importlib.resources import files

WIDTHS = (360, 1024, 2560)
MODES = ("light", "dark")
OPTIONS = {
    "resultTypes": ["violations"],
    "rules": {"target-size": {"enabled": True}},  # new in WCAG 2.2, and off by default
}
COLORS = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": ["color-contrast"]}}
"""The one rule that a mode can break, whatever the width is."""


class Axe:
    """axe-core, as the package axe-playwright-python carries it."""

    def __init__(self):
        self._script = files("axe_playwright_python").joinpath("axe.min.js").read_text()

    def findings(self, page, name, widths=WIDTHS, modes=MODES):
        """Sentences about the page as it is, in each width and mode. `name` begins them."""
        page.evaluate(self._script)
        found = []
        for mode in modes:
            page.emulate_media(color_scheme=mode)
            for width in widths:
                page.set_viewport_size({"width": width, "height": 900})
                options = OPTIONS if mode == modes[0] else COLORS
                where = f"{name}, {mode}, {width} px"
                found += [f"{where}: {each}" for each in _violations(page, options)]
                if excess := page.evaluate(EXCESS):
                    found.append(f"{where}: the page is {excess} px too wide")
        page.set_viewport_size({"width": 1024, "height": 900})
        return found


def _violations(page, options):
    for rule in page.evaluate("options => axe.run(options)", options)["violations"]:
        for node in rule["nodes"]:
            yield f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"


EXCESS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

REACHABLE = """() => [...document.querySelectorAll(
  "a[href], button, input, select, textarea, summary, [tabindex='0']")].filter((element) =>
  element.type !== "hidden" && !element.disabled &&
  element.checkVisibility({ checkVisibilityCSS: true })).length"""
"""Number of elements that a person can operate."""

FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const box = element.getBoundingClientRect();
  const style = getComputedStyle(element.closest("label.button") ?? element);
  window.met ??= [];
  const isNew = !window.met.includes(element);
  if (isNew) window.met.push(element);
  return { html: element.outerHTML.slice(0, 200), isNew,
    isSeen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    isInView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth };
}"""


def walk(page, most=400):
    """Presses Tab until the focus is at the start again. Elements in their order."""
    reached = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or not focused["isNew"]:
            break
        reached.append(focused)
    return reached
