"""An experiment whose runs are annotated and identified on a real Ray cluster."""

import json

import pytest

from tests.orchestrator.experiments.conftest import data, laboratory
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving

__all__ = ["data", "laboratory"]

pytestmark = pytest.mark.slow


async def test_on_a_cluster_it_trains_on_what_it_does_here(laboratory, cluster):
    found = {}
    for where, site in (("far", {"is_ray": True, "ray_address": cluster.address}), ("here", {})):
        teacher, student = ScriptedTeacher(), ScriptedStudent()
        laboratory.out = laboratory.out.with_name(where)
        async with serving(teacher) as teacher_at, serving(student) as student_at:
            await laboratory.work(
                laboratory.experiment(), teacher_at, student_at, patience_s=60.0, **site
            )
        found[where] = [{**row, "latency_s": 0, "train_seconds": 0} for row in laboratory.rows()]
        trained = laboratory.out / "arms/paper/qwen2vl-2b/qwen2vl-7b/vqa/seed0/training.json"
        found[where].append(json.loads(trained.read_text())["samples"])
        assert teacher.calls["annotate"] == 80
    assert found["far"] == found["here"]
