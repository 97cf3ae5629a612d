"""Checkpoints of a training: when they are written, and the number format of the result."""

import shutil

import pytest

from services.core.presets import Hyperparameters
from tests.student.trainings import furthest, new_job, new_samples

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("step", "since_s", "cost_s", "due"),
    [
        (49, 30, 0, False),
        (50, 30, 0, True),
        (50, 30, 1, True),
        (100, 19, 1, False),
        (7, 599, 0, False),
        (7, 600, 0, True),
        (7, 600, 30, True),
        (50, 600, 31, False),
        (8, 620, 31, True),
    ],
)
def test_checkpoints_are_written_by_time_and_cost_little_of_it(step, since_s, cost_s, due):
    from services.student.checkpoints import is_due

    assert is_due(step, since_s, cost_s) is due


def test_an_unfinished_checkpoint_is_removed_and_the_last_whole_one_is_resumed(tmp_path):
    from services.student.checkpoints import last_whole_checkpoint, remove_unfinished

    for step, state in {50: '{"global_step": 50}', 100: '{"global_step": 100}', 150: ""}.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-200").mkdir()
    remove_unfinished(tmp_path)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["checkpoint-100", "checkpoint-50"]
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_weights_are_trained_in_fp32_and_saved_in_the_checkpoints_format(
    tiny_checkpoint, datasets, tmp_path, lora_rank
):
    """In bfloat16, steps of 1e-6 would be rounded away: a weight of 0.02 has neighbours at 1e-4."""

    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from services.student.checkpoints import read_student
    from services.student.training import train

    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint, base)
    AutoModelForImageTextToText.from_pretrained(
        tiny_checkpoint, dtype=torch.bfloat16
    ).save_pretrained(base)
    model, dtype = read_student(base, Hyperparameters(1e-6, lora_rank=lora_rank))
    assert dtype is torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    folder = new_job(
        tmp_path,
        datasets,
        base,
        new_samples(datasets, 8),
        learning_rate=5e-3,
        epochs=4,
        lora_rank=lora_rank,
    )
    train(folder)
    before, after = (load_file(path / "model.safetensors") for path in (base, folder / "output"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert furthest(before, after) > 0


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_frozen_base_keeps_its_own_format_under_bfloat16(tiny_checkpoint, tmp_path, lora_rank):
    """Under float32 it would be rounded by each computation, so it is widened (test above)."""
    import torch
    from transformers import AutoModelForImageTextToText

    from services.student.checkpoints import read_student

    base = tmp_path / "base"
    AutoModelForImageTextToText.from_pretrained(
        tiny_checkpoint, dtype=torch.bfloat16
    ).save_pretrained(base)
    model, dtype = read_student(base, Hyperparameters(1e-6, lora_rank=lora_rank), in_bf16=True)
    assert dtype is torch.bfloat16
    formats = {
        is_trained: {
            parameter.dtype
            for parameter in model.parameters()
            if parameter.requires_grad is is_trained
        }
        for is_trained in (False, True)
    }
    assert formats == {False: {torch.bfloat16} if lora_rank else set(), True: {torch.float32}}
