"""`mpa-orch datasets evaluate` as a process."""

import json
import signal

from tests.orchestrator.cli.test_main import run, start
from tests.orchestrator.scoring.test_evaluation import labelled
from tests.orchestrator.scripted import ScriptedStudent
from tests.orchestrator.scripted_service import serving
from tests.waiting import until


async def test_interrupted_it_resumes_and_asks_nothing_twice(tmp_path):
    path, out, student = labelled(tmp_path, 200), tmp_path / "out", ScriptedStudent(delay_s=0.3)
    async with serving(student) as address:
        command = (
            "datasets",
            "evaluate",
            path,
            "--task",
            "vqa",
            "--student",
            address,
            "--out",
            out,
        )
        process = await start(*command)
        await until(lambda: student.calls["answer"] >= 64)
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
        assert process.returncode == 130, errors.decode()
        assert b"Traceback" not in errors
        kept = len((out / "predictions.jsonl").read_text().splitlines())
        assert 0 < kept < 200
        student.delay_s, before = 0.0, student.calls["answer"]
        code, output, errors = await run(*command)
    assert (code, "vqa_accuracy **" in output) == (0, True), errors
    assert student.calls["answer"] - before == 200 - kept
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(number) for number in range(200)]
    assert not any(row["error"] for row in rows)
