"""The page of a run for as long as a command is at work on it."""

import re
from contextlib import ExitStack

import httpx
import pytest

from services.core.errors import MpaError
from services.orchestrator.cli.explorer import watched
from services.orchestrator.run.run import locked
from tests.orchestrator.ui.exhibits import make_run

pytestmark = pytest.mark.slow


def test_the_printed_page_is_served_while_the_command_is_at_work(tmp_path, capfd):
    folder = make_run(tmp_path / "runs" / "a b", tmp_path / "pool", images=2)
    with watched(folder):
        (address,) = re.findall(r"http://\S+", capfd.readouterr().err)
        assert address.endswith("/runs/a%20b/live")
        assert httpx.get(address).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_an_open_page_holds_nothing_up(tmp_path, capfd):
    """Its stream of events ends with the command, without a trace in the terminal."""
    folder = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=2)
    with ExitStack() as opened, locked(folder):
        with watched(folder):
            (address,) = re.findall(r"http://\S+", capfd.readouterr().err)
            stream = opened.enter_context(httpx.stream("GET", f"{address}/events"))
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
        assert "event: ended" in list(lines)
    assert capfd.readouterr().err == ""


def test_a_page_that_cannot_be_served_is_an_error(tmp_path):
    """The folder that it should serve is itself a run."""
    outer = make_run(tmp_path / "outer", tmp_path / "pool", images=1)
    with pytest.raises(MpaError, match="--ui"), watched(outer / "inner"):
        pass


def test_without_the_option_nothing_is_served(tmp_path, capfd):
    with watched(None):
        pass
    assert capfd.readouterr() == ("", "")
