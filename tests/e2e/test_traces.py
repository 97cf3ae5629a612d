"""One trace from `mpa-orch` through both services into their engines."""

import base64
import json
import os
import re
import subprocess
import sys

import httpx
import pytest

from tests.e2e.processes import ROOT, serving
from tests.otlp import receiving
from tests.pictures import numbered_png, png
from tests.serving import fake_checkpoint
from tests.waiting import until_true

pytestmark = pytest.mark.slow
IMAGES = 96
MARK = "xylophone7519"
PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture(scope="module")
def receiver():
    with receiving() as receiver:
        yield receiver


def test_a_run_is_one_trace_of_its_stages_its_questions_and_their_computation(tmp_path, receiver):
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(IMAGES):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    teacher_model = fake_checkpoint(tmp_path / "teacher-model", skill=0.95)
    student_model = fake_checkpoint(tmp_path / "student-model", skill=0.3)
    env = receiver.environment()
    with (
        serving("teacher", tmp_path, model=teacher_model, env=env) as teacher,
        serving(
            "student", tmp_path, model=student_model, store=tmp_path / "store", env=env
        ) as student,
    ):
        places = ["--teacher", teacher.address, "--student", student.address]
        choices = [
            "--task",
            "vqa",
            "--recipe",
            "rehearsal",
            "--run",
            str(tmp_path / "run"),
            "--yes",
        ]
        command = [sys.executable, "-m", "services.orchestrator.cli.main", "align", str(pool)]
        done = subprocess.run(
            [*command, *places, *choices],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        until_true(lambda: receiver.named("mpa-orch align") and receiver.named("swap"))
    (root,) = receiver.named("mpa-orch align")
    ours = [span for span in receiver.spans if span.trace == root.trace]
    assert {span.service for span in ours} == {"mpa-orch", "mpa-teacher", "mpa-student"}
    stages = {span.name for span in ours if span.parent == root.id}
    assert {"annotate and identify", "train", "evaluate", "promote"} <= stages
    engines = [span for span in ours if span.name == "engine"]
    assert len(engines) > 3 * IMAGES
    for service, method in (
        ("teacher", "TeacherService/AnnotateStream"),
        ("student", "StudentService/AnswerStream"),
    ):
        way = [
            f"mpa-{service}: /mpa.v1.{method}",
            f"mpa-orch: ask the {service}",
            "mpa-orch: annotate and identify",
            "mpa-orch: mpa-orch align",
        ]
        assert way in map(receiver.ancestors, engines)
    assert all(span.attributes["gen_ai.usage.output_tokens"] for span in engines)
    assert any("batch" in span.text and "mpa.prompts" in span.text for span in engines)
    (upload,) = receiver.named("/mpa.v1.TrainingService/UploadDataset")
    assert receiver.ancestors(upload) == ["mpa-orch: train", "mpa-orch: mpa-orch align"]
    assert "mpa-orch: promote" in receiver.ancestors(receiver.named("swap")[-1])
    assert "question" not in "".join(span.text for span in ours)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_request_over_http_joins_its_callers_trace_without_its_question(
    tmp_path, receiver, level
):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    before = len(receiver.spans)
    settings = {"log": "json", "log_level": level, "env": receiver.environment()}
    with serving("student", tmp_path, model=model, store=tmp_path / "store", **settings) as student:
        url = f"http://127.0.0.1:{student.http_port}/v1/vqa"
        image = base64.b64encode(png()).decode()
        headers = {"traceparent": PARENT, "authorization": f"Bearer {MARK}{MARK}"}
        for question in (f"what is {MARK}?", f"{MARK} " * 1_000):
            httpx.post(url, json={"image": image, "question": question}, headers=headers)
        httpx.get(url.replace("v1/vqa", "metrics"), headers=headers)
        until_true(lambda: len([s for s in receiver.spans[before:] if s.name == "/v1/vqa"]) == 2)
    spans = receiver.spans[before:]
    requests = [span for span in spans if span.name == "/v1/vqa"]
    assert {span.parent for span in requests} == {"cd" * 8}
    checks = {span.trace for span in spans if span.name == "canaries"}
    assert {span.trace for span in spans} - checks == {"ab" * 16}
    assert [span.attributes["http.response.status_code"] for span in requests] == [200, 400]
    text = "".join(span.text for span in spans)
    assert (MARK in text) is (level == "debug")
    assert MARK * 2 not in text and image[:64] not in text
    lines = [json.loads(line) for line in student.log.read_text().splitlines()]
    assert {line.get("trace_id") for line in lines if line.get("code") == "200"} >= {"ab" * 16}


def test_spans_of_vllm_are_below_those_of_the_request(tmp_path, receiver):
    before = len(receiver.spans)
    settings = {"engine": "vllm", "max_model_len": 512, "env": receiver.environment()}
    with serving("teacher", tmp_path, wait=False, **settings) as teacher:
        teacher.wait_until_ready(300.0)
        url = f"http://127.0.0.1:{teacher.http_port}/v1/annotate"
        asked = {"image": base64.b64encode(png()).decode()}
        reply = httpx.post(url, json=asked, headers={"traceparent": PARENT}, timeout=120)
        assert reply.status_code == 200, reply.text
        until_true(lambda: any(span.name == "llm_request" for span in receiver.spans[before:]))
        text = httpx.get(f"http://127.0.0.1:{teacher.http_port}/metrics").text
        assert "mpa_queue_seconds_count 1.0" in text
        assert re.search(r"mpa_batch_size_count [1-9]", text)
        assert "mpa_first_token_seconds_count 1.0" in text
        assert 'mpa_kv_cache_used{copy="0"}' in text
        assert "vllm:" not in text
    (computed,) = [span for span in receiver.spans[before:] if span.name == "llm_request"]
    assert computed.trace == "ab" * 16
    assert receiver.ancestors(computed) == ["mpa-teacher: engine", "mpa-teacher: /v1/annotate"]
