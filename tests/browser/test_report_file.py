"""A report opened from disk: no finding, no request, nothing that leads nowhere."""

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from tests.browser.axe import REACHABLE, walk
from tests.orchestrator.ui.exhibits import make_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    make_run(folder / "runs" / "a", folder / "pool", images=4)
    target = folder / "a.html"
    done = CliRunner().invoke(app, ["report", str(folder / "runs" / "a"), str(target)])
    assert done.exit_code == 0, done.output
    return target


def test_it_has_no_finding_and_asks_for_nothing(page, report, axe):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert axe.findings(page, "report") == []


def test_it_is_read_by_keyboard_alone(page, report):
    page.goto(report.as_uri())
    reached = walk(page)
    assert len(reached) == page.evaluate(REACHABLE)
    assert [each["html"] for each in reached if not each["isSeen"]] == []
    page.locator(".quadrant.gap a").press("Enter")
    assert page.evaluate("document.querySelector(':target').id") == "cell-0"
    details = page.locator("details").first
    details.locator("summary").press("Enter")
    assert details.get_by_role("table").is_visible()
