"""One identified run for all tests: 120 images with two questions each; raters who fill pages."""

import asyncio
import json
import re

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from tests.orchestrator.run.runs import make
from tests.pictures import numbered_png

EMBEDDED = re.compile(r'<script type="application/json" id="sheet">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    pool = tmp_path_factory.mktemp("pool")
    for number in range(120):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    folder = tmp_path_factory.mktemp("runs") / "a"
    asyncio.run(make(folder, pool))
    return folder


def invoke(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


@pytest.fixture
def draw(run, tmp_path):
    """The command that draws; it returns the folder, or its output if it fails."""

    def do(*options, code=0, name="audit"):
        said = invoke("audit", "draw", run, "--output", tmp_path / name, *options, code=code)
        return tmp_path / name if code == 0 else said

    return do


def sheet(folder):
    """The sheet that the page's own script reads."""
    (embedded,) = EMBEDDED.findall((folder / "page.html").read_text())
    return json.loads(embedded)


def key(folder):
    return json.loads((folder / "key.json").read_text())


def fill_in(folder, rater, choose):
    """The file that the page saves for a rater who answers `choose(item, question)`."""
    page = sheet(folder)
    answers = {
        item["id"]: {question["key"]: choose(item, question) for question in page["questions"]}
        for item in page["items"]
    }
    path = folder.parent / f"{rater}.json"
    path.write_text(json.dumps({"audit": page["audit"], "rater": rater, "answers": answers}))
    return path
