"""Losses of samples: kept by epoch, joined of all processes, the trainer's own figures."""

import math

import pytest

from services.core.errors import InvalidInput
from services.student.execution import Execution
from services.student.job_state import JobState, Phase
from services.student.sample_losses import SampleLosses, read_losses, resumed
from tests.student.trainings import batch_of, new_job, new_samples


def test_processes_are_joined_and_each_goes_on_from_its_own(tmp_path):
    for rank, samples in ((0, (0, 2)), (1, (1,))):
        losses = SampleLosses.unknown(2, 4)
        for sample in samples:
            losses.note(1, sample, 0.5 + sample)
        losses.write(tmp_path, rank)
    joined = read_losses(tmp_path)
    assert [joined.of(sample)[1] for sample in range(3)] == [0.5, 1.5, 2.5]
    assert math.isnan(joined.of(0)[0])
    assert all(map(math.isnan, joined.of(3)))
    assert resumed(tmp_path, 1, 2, 4).of(1)[1] == 1.5
    assert all(map(math.isnan, resumed(tmp_path, 1, 2, 4).of(0)))
    assert all(map(math.isnan, resumed(tmp_path, 1, 3, 4).values)), "of another training"


@pytest.mark.parametrize(
    "state, stay",
    [
        (JobState(Phase.TRAINING), True),
        (JobState(Phase.CANCELLED), False),
        (JobState(Phase.FAILED, error="no room"), False),
        (JobState(Phase.DONE), False),
        (JobState(Phase.DONE, version="v2"), True),
    ],
    ids=["at work", "cancelled", "failed", "a trial", "a version"],
)
def test_they_stay_as_long_as_their_training_or_its_version(tmp_path, state, stay):
    SampleLosses.unknown(2, 4).write(tmp_path)
    state.tidy(tmp_path)
    assert (read_losses(tmp_path) is not None) is stay


def test_they_stay_with_weights_from_which_a_repeated_training_goes_on(tmp_path):
    SampleLosses.unknown(2, 4).write(tmp_path)
    (tmp_path / "trained").mkdir()
    JobState(Phase.FAILED, error="no room").tidy(tmp_path)
    assert read_losses(tmp_path) is not None


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\n1234", b'{"epochs": 1, "samples": 9}\n'])
def test_a_damaged_file_is_named_and_a_job_of_an_earlier_release_has_none(tmp_path, data):
    assert read_losses(tmp_path) is None
    (tmp_path / "sample_losses.0").write_bytes(data)
    with pytest.raises(InvalidInput, match="remove the file"):
        read_losses(tmp_path)
    assert len(resumed(tmp_path, 0, 1, 2).values) == 2


@pytest.mark.parametrize("execution", [Execution(), Execution(micro_batch=4)], ids=str)
def test_the_trainer_notes_what_each_answer_costs_before_its_step(
    tiny_checkpoint, datasets, tmp_path, execution
):
    import torch
    from transformers import AutoModelForImageTextToText

    from services.student.training import learn

    samples = new_samples(datasets, 6)
    settings = {"epochs": 2, "warmup_ratio": 0.0}  # the first step changes the weights, too
    folder = new_job(tmp_path, datasets, tiny_checkpoint, samples, execution=execution, **settings)
    learn(folder)
    found = read_losses(folder)
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint, dtype="float32")
    for place, sample in enumerate(samples):
        batch = batch_of(tiny_checkpoint, datasets, [sample])
        with torch.no_grad():
            expected = model(**batch).loss.item()
        first, second = found.of(place)
        assert first == pytest.approx(expected, rel=1e-3)
        assert second != first
