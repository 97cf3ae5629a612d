"""Lines of the log: their form, and the facts of a request in them."""

import asyncio
import io
import json
import logging
import sys

import pytest

from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc.logs import JSON, JsonLines, LogSettings, SparseRecords, conversation
from services.rpc.request_id import CallLog, begin_request, note


def settings(**given):
    return LogSettings.from_environment(Environment("MPA_STUDENT_", given))


@pytest.fixture
def written():
    """The lines that the log writes as JSON, parsed."""
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("services")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in file.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_text_at_the_level_info_is_the_default():
    assert settings() == LogSettings("text", logging.INFO)
    assert settings(MPA_STUDENT_LOG=JSON).form == JSON


@pytest.mark.parametrize("name", ["MPA_STUDENT_LOG", "MPA_STUDENT_LOG_LEVEL"])
def test_an_unknown_form_or_level_is_named(name):
    with pytest.raises(InvalidInput, match=f"{name} is 'loud': give"):
        settings(**{name: "loud"})


async def test_a_call_has_its_id_and_the_facts_that_its_tasks_noted(written):
    begin_request("seven")
    await asyncio.create_task(asyncio.to_thread(note, "version", "v3"))
    CallLog().ended("POST /v1/vqa", "200", 0.25, peer="10.0.0.1", failed=False)
    (line,) = written()
    assert line["message"].startswith("POST /v1/vqa 200 0.250 s")
    told = {"request_id": "seven", "version": "v3", "method": "POST /v1/vqa", "code": "200"}
    assert told.items() <= line.items()
    assert line["seconds"] == 0.25


def test_a_logger_writes_a_few_faults_of_callers_a_second():
    sparse = SparseRecords(most_per_s=3)

    def is_logged(message, second):
        record = logging.makeLogRecord({"msg": message, "created": second + 0.5})
        return sparse.filter(record)

    assert [is_logged("gone", 1) for _ in range(5)] == [True] * 3 + [False] * 2
    assert is_logged("gone", 2)
    assert not is_logged("Invalid encoding on %r", 3)


def test_a_caller_writes_no_line_of_the_log(caplog):
    caplog.set_level(logging.INFO)
    CallLog().ended("GET /\n2026 ERROR\x1b[2J", "404", 0.0, peer="::1", failed=True, why="a\nb")
    (line,) = caplog.messages
    assert line.isprintable()


async def test_the_facts_of_two_requests_do_not_mix(written):
    async def request(name):
        begin_request(name)
        note("version", name)
        await asyncio.sleep(0)
        logging.getLogger("services.calls").info("over")

    await asyncio.gather(*(asyncio.create_task(request(str(number))) for number in range(5)))
    assert [(line["request_id"], line["version"]) for line in written()] == [
        (str(number), str(number)) for number in range(5)
    ]


def test_a_traceback_and_strange_text_stay_on_one_line():
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        fault = sys.exc_info()
    # Not logged: a report of pytest-xdist can't hold text that is no Unicode.
    said = logging.LogRecord("calls", logging.ERROR, "", 1, "it\nfailed \ud800", None, fault)
    (line,) = JsonLines().format(said).splitlines()
    found = json.loads(line)
    assert found["message"] == "it\nfailed \ud800"
    assert "RuntimeError: two\nlines" in found["traceback"]


def test_conversations_are_logged_at_debug_alone(caplog):
    caplog.set_level(logging.INFO, "services")
    conversation("what is it?", "a cat")
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "services")
    conversation("what is it?", "a cat")
    assert "a cat" in caplog.text
