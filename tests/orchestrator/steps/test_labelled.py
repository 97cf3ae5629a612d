"""--eval in the published formats, and runs of the tasks beyond VQA."""

import pytest

from services.core.errors import InvalidInput
from services.orchestrator.run.settings import new_settings
from services.orchestrator.steps.labelled import read_labelled
from tests.orchestrator.conftest import bench
from tests.orchestrator.datasets import samples


@pytest.mark.parametrize(
    ("task", "sample", "questions"),
    [("okvqa", samples.okvqa, 1), ("captioning", samples.textcaps, 2)],
)
async def test_a_run_is_measured_on_a_data_set_as_published(
    tmp_path, pool, task, sample, questions
):
    async with bench(tmp_path / "run", pool) as b:
        b.settings = new_settings(str(pool), task, "rehearsal")
        b.labelled = sample(tmp_path / "set")
        summary = await b.align()
    assert summary.labelled.questions == questions
    assert summary.labelled.skipped == 0
    assert summary.teacher is not None


def test_cases_name_images_below_the_set(tmp_path):
    (case,) = read_labelled(samples.okvqa(tmp_path))
    assert case.path == "val2014/COCO_val2014_000000297147.jpg"
    assert case.references == ("race",) * 10


def test_a_set_that_holds_its_images_is_for_datasets_evaluate(tmp_path):
    with pytest.raises(InvalidInput, match="mpa-orch datasets evaluate"):
        read_labelled(samples.vlmevalkit(tmp_path))


def test_an_empty_set_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="is empty"):
        read_labelled(samples.write(tmp_path / "labels.jsonl", "\n"))
