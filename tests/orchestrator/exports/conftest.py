"""One run for all tests: 60 images in two formats, two questions each; some held out."""

import asyncio
import hashlib
import io
import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from services.core.parity import is_held_out
from services.orchestrator.cli.main import app
from tests.orchestrator.run.runs import make
from tests.orchestrator.scripted import draw
from tests.pictures import numbered_png


def picture(number):
    if number % 3:
        return numbered_png(number)
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), (number, 200 - number, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def rejects(sha256, seed):
    return "no_question" if draw("rejects", sha256, seed) < 0.3 else ""


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """A pool in which some JPEGs have a wrong suffix, as in real ones."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(60):
        (folder / f"{number:02}.png").write_bytes(picture(number))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory, pool):
    folder = tmp_path_factory.mktemp("runs") / "a"
    asyncio.run(make(folder, pool, rejects=rejects))
    return folder


@pytest.fixture
def export(run, tmp_path):
    """The command that exports; it returns the path."""

    def do(form, *options, code=0):
        output = tmp_path / f"out-{form}"
        given = ["runs", "export", run, "--format", form, "--output", output, *options]
        result = CliRunner().invoke(app, [str(argument) for argument in given])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return output if code == 0 else " ".join(result.output.split())

    return do


@pytest.fixture(scope="session")
def parity_set(run):
    """Lines of the parity set by (sha256, question)."""
    lines = [json.loads(line) for line in (run / "parity_set.jsonl").read_text().splitlines()]
    assert {line["cell"] for line in lines} == {"gap", "unasked"}
    assert not any(is_held_out(line["sha256"], 0.15) for line in lines)
    return {(line["sha256"], line["question"]): line for line in lines}


@pytest.fixture(scope="session")
def records(run):
    """Every record, as `runs show --json` prints it."""
    result = CliRunner().invoke(app, ["runs", "show", str(run), "--limit", "1000", "--json"])
    return [json.loads(line) for line in result.stdout.splitlines()]


def sha256(data):
    return hashlib.sha256(data).hexdigest()
