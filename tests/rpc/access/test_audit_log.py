"""The audit log's file: whole lines, whatever happens to it."""

import json
import stat

import pytest

from services.core.errors import PermissionDenied
from services.rpc.access.audit_log import KEPT, AuditLog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def results(path):
    return [json.loads(line)["result"] for line in path.read_text().splitlines()]


async def test_lines_are_appended_and_readable_by_the_owner_alone(path):
    for number in range(3):
        await AuditLog(path).write("Promote", f"R{number}")
    assert results(path) == ["R0", "R1", "R2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_line_that_a_crash_cut_off_spoils_no_other(path):
    await AuditLog(path).write("Promote", "R0")
    with path.open("a") as file:
        file.write('{"time": "20')
    await AuditLog(path).write("Promote", "R1")
    first, cut_off, last = path.read_text().splitlines()
    assert [json.loads(line)["result"] for line in (first, last)] == ["R0", "R1"]
    assert cut_off == '{"time": "20'


async def test_names_with_line_breaks_stay_on_their_line(path):
    for name in ('v1\n{"result": "OK"}', "v1\r", "\u2028", "\x1b[2J", "\ud800"):
        await AuditLog(path).write("Promote", "FAILED", request={"name": name})
    assert results(path) == ["FAILED"] * 5
    assert path.read_bytes().isascii() and b"\x1b" not in path.read_bytes()


async def test_the_file_is_bounded_and_the_oldest_lines_go_first(path):
    log = AuditLog(path, most_bytes=1)
    for number in range(KEPT + 3):
        await log.write("Promote", f"R{number}")
    files = sorted(path.parent.iterdir())
    assert len(files) == KEPT + 1
    assert results(path) == [f"R{KEPT + 2}"]
    assert results(path.with_name("audit.1.jsonl")) == [f"R{KEPT + 1}"]
    assert results(path.with_name(f"audit.{KEPT}.jsonl")) == ["R2"]


async def test_refused_callers_fill_one_line_a_second(path):
    log = AuditLog(path)
    for _ in range(100):
        await log.refused("Promote", PermissionDenied("no", role="operate"))
    assert len(results(path)) < 10


async def test_a_disk_that_takes_no_line_stops_no_action(tmp_path, caplog):
    log = AuditLog(tmp_path / "nowhere" / "audit.jsonl")
    for _ in range(3):
        await log.write("Promote", "OK")
    assert caplog.text.count("control actions are not audited") == 1
