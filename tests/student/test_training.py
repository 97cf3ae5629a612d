"""The Parity Leveler on a real architecture with random weights: labels, losses, batches."""

import math
import shutil

import pytest
from PIL import Image

from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.engines.images import load_image, sha256
from services.student.datasets import TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from tests.pictures import encoded
from tests.student.trainings import batch_of, furthest, new_job, new_samples

pytestmark = pytest.mark.slow


def _trained(tmp_path, datasets, base, samples, name, **settings):
    """Weights after a training in this process."""

    from safetensors.torch import load_file

    from services.student.training import train

    folder = new_job(tmp_path, datasets, base, samples, name, **settings)
    train(folder)
    return load_file(folder / "output" / "model.safetensors")


def test_only_the_answer_and_the_end_of_turn_are_learned(tiny_checkpoint, datasets):
    from transformers import AutoProcessor

    from services.student.encoding import IGNORED

    tokenizer = AutoProcessor.from_pretrained(tiny_checkpoint).tokenizer
    samples = new_samples(datasets, 6)
    batch = batch_of(tiny_checkpoint, datasets, samples)
    for row, sample in enumerate(samples):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED]
        assert tokenizer.decode(learned) == sample.answer + tokenizer.eos_token


def test_the_prompt_trained_on_is_the_prompt_served(tiny_checkpoint, datasets):
    import torch
    from transformers import AutoProcessor

    from services.engines.chat import conversation
    from services.student.encoding import IGNORED

    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    samples = new_samples(datasets, 4)
    batch = batch_of(tiny_checkpoint, datasets, samples)
    for row, sample in enumerate(samples):
        text = processor.apply_chat_template(
            conversation(answer_prompt(sample.question)), add_generation_prompt=True, tokenize=False
        )
        image = load_image(datasets.image_path(sample.image_sha256).read_bytes()).pixels
        served = processor(text=[text], images=[image], return_tensors="pt")
        length = served["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][row, :length], served["input_ids"][0])
        assert torch.equal(batch["mm_token_type_ids"][row, :length], served["mm_token_type_ids"][0])
        assert (batch["labels"][row, :length] == IGNORED).all()
        assert (
            batch["attention_mask"][row].sum() == length + (batch["labels"][row] != IGNORED).sum()
        )


def test_images_that_earlier_releases_stored_are_trained_on(tiny_checkpoint, datasets):
    import torch

    batches = []
    for kind in ("PNG", "BMP", "PPM"):
        data = encoded(Image.radial_gradient("L").convert("RGB"), kind)
        path = datasets.image_path(sha256(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        batches.append(
            batch_of(tiny_checkpoint, datasets, [TrainingSample(path.name, "what?", "red")])
        )
    assert all(torch.equal(batch["pixel_values"], batches[0]["pixel_values"]) for batch in batches)


def test_targets_stand_right_behind_prompts_of_any_length():
    import torch

    from services.student.encoding import IGNORED, append_target, collate

    def row(prompt, target):
        inputs = {
            "input_ids": torch.tensor([prompt]),
            "attention_mask": torch.ones(1, len(prompt), dtype=torch.long),
        }
        return append_target({**inputs, "pixel_values": torch.ones(5, 7)}, torch.tensor([target]))

    batch = collate([row([1, 2, 3], [8]), row([4], [8, 9])], pad_token=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 8], [4, 8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED] * 3 + [8], [IGNORED, 8, 9, IGNORED]]
    assert batch["pixel_values"].shape == (10, 7)


def test_the_two_losses_are_eq_3_and_the_token_mean(tiny_checkpoint, datasets, tmp_path):
    from transformers import AutoModelForImageTextToText

    from services.student.batches import EffectiveBatches
    from services.student.encoding import IGNORED
    from services.student.leveler import Leveler
    from services.student.trainer import training_arguments

    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
    batch = batch_of(tiny_checkpoint, datasets, new_samples(datasets, 6))
    losses = {}
    for loss in ("sample", "token"):
        arguments = training_arguments(
            Hyperparameters(1e-3, loss=loss), Execution(), 6, tmp_path / "out"
        )
        leveler = Leveler(
            loss=loss, batches=EffectiveBatches(6, 16, 16), model=model, args=arguments
        )
        losses[loss] = leveler.compute_loss(model, dict(batch)).item()
    log_probabilities = (
        model(**{key: value for key, value in batch.items() if key != "labels"})
        .logits[:, :-1]
        .log_softmax(-1)
    )
    targets = batch["labels"][:, 1:]
    token_losses = -log_probabilities.gather(-1, targets.clamp_min(0)[..., None])[..., 0] * (
        targets != IGNORED
    )
    assert losses["sample"] == pytest.approx((token_losses.sum() / 6).item(), rel=1e-4)
    assert losses["token"] == pytest.approx(
        (token_losses.sum() / (targets != IGNORED).sum()).item(), rel=1e-4
    )


def test_the_learning_rate_rises_and_falls_by_optimizer_steps(tiny_checkpoint, datasets, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from services.student.batches import EffectiveBatches
    from services.student.encoding import EncodedSamples, Encoder, collate
    from services.student.leveler import Leveler
    from services.student.trainer import training_arguments

    samples = new_samples(datasets, 39)
    settings = Hyperparameters(1e-3, batch_size=4, epochs=2, warmup_ratio=0.2)
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    arguments = training_arguments(
        settings, Execution(micro_batch=2), len(samples), tmp_path / "out"
    )
    arguments.logging_steps = 1
    leveler = Leveler(
        loss="token",
        batches=EffectiveBatches(len(samples), 4, 2),
        model=AutoModelForImageTextToText.from_pretrained(tiny_checkpoint),
        args=arguments,
        train_dataset=EncodedSamples(samples, Encoder(processor, datasets, ANSWER_TEMPLATE)),
        data_collator=lambda rows: collate(rows, processor.tokenizer.pad_token_id),
    )
    leveler.train()
    rates = [
        entry["learning_rate"] for entry in leveler.state.log_history if "learning_rate" in entry
    ]
    warmup = [1e-3 * step / 4 for step in range(4)]
    assert rates == pytest.approx(
        [*warmup, *(5e-4 * (1 + math.cos(math.pi * step / 16)) for step in range(16))]
    )


@pytest.mark.parametrize("loss", ["token", "sample"])
def test_however_a_batch_is_computed_the_same_is_learned(tiny_checkpoint, datasets, tmp_path, loss):
    from safetensors.torch import load_file

    samples = new_samples(datasets, 20)  # the last batch is a half
    base = load_file(tiny_checkpoint / "model.safetensors")
    whole = _trained(tmp_path, datasets, tiny_checkpoint, samples, "whole", loss=loss)
    assert furthest(whole, base) > 1e-3
    parts = _trained(
        tmp_path,
        datasets,
        tiny_checkpoint,
        samples,
        "parts",
        loss=loss,
        execution=Execution(micro_batch=2),
    )
    assert furthest(whole, parts) < 2e-4  # Adam turns rounding of tiny gradients into steps
    if loss == "token":
        recomputed = Execution(micro_batch=4, gradient_checkpointing=True, workers=1)
        assert (
            furthest(
                whole,
                _trained(
                    tmp_path, datasets, tiny_checkpoint, samples, "again", execution=recomputed
                ),
            )
            < 2e-4
        )
        rounded = _trained(
            tmp_path,
            datasets,
            tiny_checkpoint,
            samples,
            "bf16",
            execution=Execution(precision="bf16"),
        )
        assert 1e-6 < furthest(whole, rounded) < 0.02


def test_no_trainer_is_in_memory_when_the_canaries_are_computed(
    tiny_checkpoint, datasets, tmp_path
):
    import gc
    import weakref

    from services.student.training import free_memory, learn

    folder = new_job(tmp_path, datasets, tiny_checkpoint, new_samples(datasets, 8))
    trainer = learn(folder)
    held = [
        weakref.ref(thing)
        for thing in (trainer, trainer.model, trainer.optimizer, *trainer.model.parameters())
    ]
    moments = [
        weakref.ref(state["exp_avg"]) for state in trainer.optimizer.optimizer.state.values()
    ]
    assert moments
    gc.disable()  # only `free_memory` collects
    try:
        del trainer
        free_memory()
        assert not any(reference() is not None for reference in (*held, *moments))
    finally:
        gc.enable()


def test_small_steps_add_up(tiny_checkpoint, datasets, tmp_path):
    """100 steps, each too small to change a bfloat16 weight of 1, change it together."""

    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint, base)
    AutoModelForImageTextToText.from_pretrained(
        tiny_checkpoint, dtype=torch.bfloat16
    ).save_pretrained(base)
    samples = new_samples(datasets, 8)
    trained = _trained(
        tmp_path, datasets, base, samples, "long", learning_rate=4e-4, epochs=100, warmup_ratio=0.0
    )
    norms = {
        name: tensor
        for name, tensor in load_file(base / "model.safetensors").items()
        if (tensor == 1).all()
    }
    assert norms
    assert any(not torch.equal(trained[name], tensor) for name, tensor in norms.items())


@pytest.mark.parametrize(
    ("precision", "attention"), [("fp32", "sdpa"), ("bf16", "eager")], ids=["fp32", "bf16"]
)
def test_short_sequences_on_a_cpu_in_bf16_have_plain_attention(
    tiny_checkpoint, datasets, tmp_path, precision, attention
):
    """The fused backward pass takes twice as long there."""
    from services.student.trainer import prepare

    execution = Execution(precision=precision)
    samples = new_samples(datasets, 8)
    folder = new_job(tmp_path, datasets, tiny_checkpoint, samples, execution=execution)
    trainer, _ = prepare(folder, Job.read(folder))
    assert trainer.model.config._attn_implementation == attention
