"""Ids of requests and their log lines."""

import logging

import pytest

from services.rpc.request_id import CallLog, current_request_id, request_id


@pytest.mark.parametrize("given", ["7", "order-12.3:retry_2", "a" * 64])
def test_a_harmless_id_of_the_caller_is_kept(given):
    assert request_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", "a" * 65, "two words", "a\nb", "caf\u00e9", "\ud800", "<b>", "%s", "²"]
)
def test_any_other_is_replaced(given):
    made = request_id(given)
    assert made != given
    assert request_id(made) == made
    assert request_id(given) != made


def test_a_call_is_one_line_with_its_id(caplog):
    caplog.set_level(logging.INFO, "services.calls")
    current_request_id.set("seven")
    CallLog().ended(
        "POST /v1/vqa", "400", 0.25, peer="127.0.0.1", failed=True, why="a\nb" + "x" * 10_000
    )
    (line,) = caplog.messages
    assert line.startswith("POST /v1/vqa 400 0.250 s id=seven peer=127.0.0.1 'a\\nb")
    assert len(line) < 500
    assert "\n" not in line


def test_lines_beyond_the_limit_are_counted_and_failures_are_not_crowded_out(caplog):
    caplog.set_level(logging.INFO, "services.calls")
    log = CallLog(failures_per_s=3, successes_per_s=2)
    for _ in range(1_000):
        log.ended("M", "OK", 0.0, peer="p", failed=False)
    log.ended("M", "400", 0.0, peer="p", failed=True)
    assert len(caplog.messages) <= 5, (
        "two a second, and the one failure; a second may turn meanwhile"
    )
    assert "M 400" in caplog.messages[-1]
