"""The Parity Leveler on a real architecture with random weights."""

import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.engines.chat import user_turn
from services.engines.checkpoint import check, processor_sha256
from services.engines.images import load_image
from services.student.datasets import DatasetStore, TrainingSample
from services.student.job import Job, Progress
from services.student.training import IGNORED, Collator, Leveler, append_targets, train, training_arguments
from tests.pictures import numbered_png

pytestmark = pytest.mark.slow


@pytest.fixture
def datasets(tmp_path):
    return DatasetStore(tmp_path)


def _samples(datasets, count):
    images = [datasets.add_image(numbered_png(number)) for number in range(8)]
    answers = ["red", "a yellow triangle", "no"]
    return [TrainingSample(images[n % 8], f"what is {'very ' * (n % 4)}new?", answers[n % 3]) for n in range(count)]


def _job(tmp_path, datasets, base, samples, name="job", **hyperparameters):
    folder = tmp_path / "jobs" / name
    settings = Hyperparameters(**{"learning_rate": 1e-3, "batch_size": 8, **hyperparameters})
    Job(name, "", "v1", str(base), datasets.add(samples), "", "", ANSWER_TEMPLATE, settings, str(tmp_path)).write(folder)
    return folder


def test_only_the_answer_and_the_end_of_turn_are_learned(tiny_checkpoint, datasets):
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    samples = _samples(datasets, 6)
    batch = Collator(processor, datasets, ANSWER_TEMPLATE)(samples)
    end = processor.tokenizer.eos_token
    for row, sample in enumerate(samples):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED]
        assert processor.tokenizer.decode(learned) == sample.answer + end


def test_the_prompt_trained_on_is_the_prompt_served(tiny_checkpoint, datasets):
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    samples = _samples(datasets, 4)
    batch = Collator(processor, datasets, ANSWER_TEMPLATE)(samples)
    for row, sample in enumerate(samples):
        text = processor.apply_chat_template(
            user_turn(answer_prompt(sample.question)), add_generation_prompt=True, tokenize=False
        )
        image = load_image(datasets.image_path(sample.image_sha256).read_bytes()).pixels
        served = processor(text=[text], images=[image], return_tensors="pt")
        length = served["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][row, :length], served["input_ids"][0])
        assert torch.equal(batch["mm_token_type_ids"][row, :length], served["mm_token_type_ids"][0])
        assert (batch["labels"][row, :length] == IGNORED).all()
        assert batch["attention_mask"][row].sum() == length + (batch["labels"][row] != IGNORED).sum()


def test_targets_stand_right_behind_prompts_of_any_length():
    inputs = {
        "input_ids": torch.tensor([[1, 2, 3], [4, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "pixel_values": torch.ones(5, 7),
    }
    batch = append_targets(inputs, [[8], [8, 9]], pad=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 8], [4, 8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED] * 3 + [8], [IGNORED, 8, 9, IGNORED]]
    assert batch["pixel_values"].shape == (5, 7)


def test_the_two_losses_are_eq_3_and_the_token_mean(tiny_checkpoint, datasets, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
    collate = Collator(AutoProcessor.from_pretrained(tiny_checkpoint), datasets, ANSWER_TEMPLATE)
    batch = collate(_samples(datasets, 6))
    losses = {}
    for loss in ("sample", "token"):
        arguments = training_arguments(Hyperparameters(1e-3, loss=loss), 6, tmp_path / "out")
        leveler = Leveler(loss=loss, model=model, args=arguments)
        losses[loss] = leveler.compute_loss(model, dict(batch)).item()
    log_probabilities = model(**{key: value for key, value in batch.items() if key != "labels"}).logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    token_losses = -log_probabilities.gather(-1, targets.clamp_min(0)[..., None])[..., 0] * (targets != IGNORED)
    assert losses["sample"] == pytest.approx((token_losses.sum() / 6).item(), rel=1e-4)
    assert losses["token"] == pytest.approx((token_losses.sum() / (targets != IGNORED).sum()).item(), rel=1e-4)


def test_the_whole_student_moves_and_what_is_saved_loads(tiny_checkpoint, datasets, tmp_path):
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 24), epochs=4)
    train(folder)
    output = folder / "output"
    check(output)
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("visual.patch_embed", "visual.blocks", "visual.merger", "layers.0", "embed_tokens"):
        assert any(part in name for name in moved), part
    assert processor_sha256(output) == processor_sha256(tiny_checkpoint)
    assert Progress.read(folder).step == Progress.read(folder).total_steps == 12
    AutoModelForImageTextToText.from_pretrained(output)


def test_killed_in_the_middle_it_ends_with_the_same_weights(tiny_checkpoint, datasets, tmp_path):
    samples = _samples(datasets, 2 * 60)
    unbroken = _job(tmp_path, datasets, tiny_checkpoint, samples, "unbroken", batch_size=2)
    killed = _job(tmp_path, datasets, tiny_checkpoint, samples, "killed", batch_size=2)
    command = [sys.executable, "-m", "services.student.training"]
    subprocess.run([*command, str(unbroken)], check=True)
    process = subprocess.Popen([*command, str(killed)])
    while not list((killed / "checkpoints").glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (killed / "output").exists()
    subprocess.run([*command, str(killed)], check=True)
    one, other = (load_file(folder / "output" / "model.safetensors") for folder in (unbroken, killed))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
