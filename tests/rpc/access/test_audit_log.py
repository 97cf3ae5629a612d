"""The audit log's file: whole lines, whatever happens to it."""

import json
import resource
import stat

import pytest

from services.core.errors import PermissionDenied
from services.rpc.access.audit_log import KEPT, AuditLog
from services.rpc.access.caller import Caller, current_caller
from services.rpc.access.keys import new_key


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


async def test_a_disk_that_takes_half_a_line_takes_none(path, caplog):
    log = AuditLog(path)
    await log.write("Promote", "R0")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
    try:
        await log.write("Promote", "R1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert results(path) == ["R0"]
    assert "control actions are not audited" in caplog.text
    await log.write("Promote", "R2")
    assert results(path) == ["R0", "R2"]


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


async def test_all_files_are_kept_if_that_is_set(path):
    log = AuditLog(path, kept=0, most_bytes=1)
    for number in range(KEPT + 3):
        await log.write("Promote", f"R{number}")
    assert results(path.with_name(f"audit.{KEPT + 2}.jsonl")) == ["R0"]


async def test_a_file_that_is_removed_is_reported(path, caplog):
    log = AuditLog(path, kept=1, most_bytes=1)
    for number in range(2):
        await log.write("Promote", f"R{number}")
    assert "is removed" not in caplog.text
    await log.write("Promote", "R2")
    assert "audit.1.jsonl is removed, whose last line is of 20" in caplog.text
    assert "MPA_STUDENT_AUDIT_FILES" in caplog.text
    assert results(path.with_name("audit.1.jsonl")) == ["R1"]


async def test_refusals_of_a_key_fill_one_line_a_second_and_hide_no_other(path):
    log = AuditLog(path)
    for name in ("first", "second"):
        key, _ = new_key(name, ["ask"])
        current_caller.set(Caller(key))
        for _ in range(100):
            await log.refused("Promote", PermissionDenied("no", role="operate"))
    names = [json.loads(line)["name"] for line in path.read_text().splitlines()]
    assert set(names) == {"first", "second"}
    assert len(names) < 20


async def test_a_disk_that_takes_no_line_stops_no_action(tmp_path, caplog):
    log = AuditLog(tmp_path / "nowhere" / "audit.jsonl")
    for _ in range(3):
        await log.write("Promote", "OK")
    assert caplog.text.count("control actions are not audited") == 1
