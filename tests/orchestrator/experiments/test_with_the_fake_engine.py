"""An experiment on the services with the fake engine: stored versions, trainings in processes."""

import asyncio
import json
from dataclasses import replace

from google.longrunning import operations_pb2

from services.engines.fake import true_answer
from tests.orchestrator.experiments.conftest import write_labelled
from tests.serving import fake_student_settings, serving_student, teacher_at
from tests.student.calls import train
from tests.waiting import until


async def test_a_small_experiment_from_the_pool_to_its_tables(tmp_path, laboratory):
    write_labelled(laboratory.data / "test.jsonl", range(1000, 1020), true_answer)
    arms = ("zero-shot", "paper", "random", "labels-30-lora", "teacher")
    settings = fake_student_settings(tmp_path, skill=0.4)
    settings = replace(settings, engine=replace(settings.engine, max_lora_rank=16))
    async with (
        teacher_at(tmp_path / "teacher", skill=0.95) as teacher_address,
        serving_student(settings) as student,
    ):
        rows = await laboratory.work(
            laboratory.experiment(arms=arms), teacher_address, student.address
        )
        again = await laboratory.work(
            laboratory.experiment(arms=arms), teacher_address, student.address
        )
        stored = sorted(path.name for path in (tmp_path / "store" / "versions").glob("v*"))
    assert again == rows
    assert stored == ["v1", "v2", "v3", "v4"]
    assert rows["zero-shot"]["mean"] < rows["paper"]["mean"] < rows["teacher"]["mean"]
    assert rows["paper"]["broken"] == 0
    said = (laboratory.out / "small.md").read_text()
    assert "| qwen2vl-2b | MPA" in said
    assert "![small-latency](small-latency.png)" in said
    assert r"\begin{table}" in (laboratory.out / "small.tex").read_text()
    manifest = json.loads((tmp_path / "store/versions/v2/manifest.json").read_text())
    assert manifest["origin"]["recipe"] == "paper"


async def test_a_training_that_another_command_left_is_waited_for(
    tmp_path, laboratory, monkeypatch
):
    """The service does one training at a time, and goes on with those of killed commands."""
    monkeypatch.setenv("MPA_FAKE_STEP_S", "1000")
    async with (
        teacher_at(tmp_path / "teacher", skill=0.95) as teacher_address,
        serving_student(fake_student_settings(tmp_path, skill=0.4)) as student,
    ):
        left = await train(student)
        monkeypatch.setenv("MPA_FAKE_STEP_S", "0.01")
        work = asyncio.create_task(
            laboratory.work(laboratory.experiment(), teacher_address, student.address)
        )
        await until(lambda: f"waiting for {left.name}" in laboratory.output.getvalue())
        assert not work.done()
        await student.operations.CancelOperation(
            operations_pb2.CancelOperationRequest(name=left.name)
        )
        rows = await work
    assert rows["paper"]["samples"] > 0
