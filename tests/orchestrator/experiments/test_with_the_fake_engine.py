"""An experiment on the services with the fake engine: stored versions, trainings in processes."""

import json
from dataclasses import replace

from services.engines.fake import true_answer
from tests.orchestrator.experiments.conftest import write_labelled
from tests.serving import fake_student_settings, serving_student, teacher_at


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
