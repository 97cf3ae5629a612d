"""The Parity Leveler on a real architecture with random weights."""

import asyncio
import json
import math
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.engines.chat import conversation
from services.engines.checkpoint import check, processor_sha256, weights_sha256
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from services.student import canaries
from services.student.batches import EffectiveBatches
from services.student.datasets import DatasetStore, TrainingSample
from services.student.encoding import IGNORED, EncodedSamples, Encoder, append_target, collate
from services.student.execution import Execution
from services.student.job import Job, Progress
from services.student.leveler import Leveler
from services.student.store import ADAPTER
from services.student.training import train, training_arguments
from tests.pictures import numbered_png

TRAIN = [sys.executable, "-m", "services.student.training"]
pytestmark = pytest.mark.slow


@pytest.fixture
def datasets(tmp_path):
    return DatasetStore(tmp_path)


def _samples(datasets, count):
    images = [datasets.add_image(numbered_png(number)) for number in range(8)]
    answers = ["red", "a yellow triangle", "no"]
    return [TrainingSample(images[n % 8], f"what is {'very ' * (n % 4)}new?", answers[n % 3]) for n in range(count)]


def _job(tmp_path, datasets, base, samples, name="job", execution=Execution(), **hyperparameters):  # noqa: B008
    folder = tmp_path / "jobs" / name
    settings = Hyperparameters(**{"learning_rate": 1e-3, "batch_size": 8, **hyperparameters})
    dataset = datasets.add(samples)
    Job(name, "", "v1", str(base), dataset, "", "", ANSWER_TEMPLATE, settings, str(tmp_path), "", execution).write(folder)
    return folder


def _batch(checkpoint, datasets, samples):
    processor = AutoProcessor.from_pretrained(checkpoint)
    encoded = EncodedSamples(samples, Encoder(processor, datasets, ANSWER_TEMPLATE))
    return collate([encoded[at] for at in range(len(samples))], processor.tokenizer.pad_token_id)


def _trained(tmp_path, datasets, base, samples, name, **settings):
    """Weights after a training in this process."""
    folder = _job(tmp_path, datasets, base, samples, name, **settings)
    train(folder)
    return load_file(folder / "output" / "model.safetensors")


def _furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)


def test_only_the_answer_and_the_end_of_turn_are_learned(tiny_checkpoint, datasets):
    tokenizer = AutoProcessor.from_pretrained(tiny_checkpoint).tokenizer
    samples = _samples(datasets, 6)
    batch = _batch(tiny_checkpoint, datasets, samples)
    for row, sample in enumerate(samples):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED]
        assert tokenizer.decode(learned) == sample.answer + tokenizer.eos_token


def test_the_prompt_trained_on_is_the_prompt_served(tiny_checkpoint, datasets):
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    samples = _samples(datasets, 4)
    batch = _batch(tiny_checkpoint, datasets, samples)
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
        assert batch["attention_mask"][row].sum() == length + (batch["labels"][row] != IGNORED).sum()


def test_targets_stand_right_behind_prompts_of_any_length():
    def row(prompt, target):
        inputs = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}
        return append_target({**inputs, "pixel_values": torch.ones(5, 7)}, torch.tensor([target]))

    batch = collate([row([1, 2, 3], [8]), row([4], [8, 9])], pad_token=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 8], [4, 8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED] * 3 + [8], [IGNORED, 8, 9, IGNORED]]
    assert batch["pixel_values"].shape == (10, 7)


def test_the_two_losses_are_eq_3_and_the_token_mean(tiny_checkpoint, datasets, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
    batch = _batch(tiny_checkpoint, datasets, _samples(datasets, 6))
    losses = {}
    for loss in ("sample", "token"):
        arguments = training_arguments(Hyperparameters(1e-3, loss=loss), Execution(), 6, tmp_path / "out")
        leveler = Leveler(loss=loss, batches=EffectiveBatches(6, 16, 16), model=model, args=arguments)
        losses[loss] = leveler.compute_loss(model, dict(batch)).item()
    log_probabilities = model(**{key: value for key, value in batch.items() if key != "labels"}).logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    token_losses = -log_probabilities.gather(-1, targets.clamp_min(0)[..., None])[..., 0] * (targets != IGNORED)
    assert losses["sample"] == pytest.approx((token_losses.sum() / 6).item(), rel=1e-4)
    assert losses["token"] == pytest.approx((token_losses.sum() / (targets != IGNORED).sum()).item(), rel=1e-4)


def test_the_learning_rate_rises_and_falls_by_optimizer_steps(tiny_checkpoint, datasets, tmp_path):
    samples, settings = _samples(datasets, 39), Hyperparameters(1e-3, batch_size=4, epochs=2, warmup_ratio=0.2)
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    arguments = training_arguments(settings, Execution(micro_batch=2), len(samples), tmp_path / "out")
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
    rates = [entry["learning_rate"] for entry in leveler.state.log_history if "learning_rate" in entry]
    warmup = [1e-3 * step / 4 for step in range(4)]
    assert rates == pytest.approx([*warmup, *(5e-4 * (1 + math.cos(math.pi * step / 16)) for step in range(16))])


@pytest.mark.parametrize("loss", ["token", "sample"])
def test_however_a_batch_is_computed_the_same_is_learned(tiny_checkpoint, datasets, tmp_path, loss):
    samples = _samples(datasets, 20)  # the last batch is a half
    base = load_file(tiny_checkpoint / "model.safetensors")
    whole = _trained(tmp_path, datasets, tiny_checkpoint, samples, "whole", loss=loss)
    assert _furthest(whole, base) > 1e-3
    parts = _trained(tmp_path, datasets, tiny_checkpoint, samples, "parts", loss=loss, execution=Execution(micro_batch=2))
    assert _furthest(whole, parts) < 2e-4  # Adam turns rounding of tiny gradients into steps
    if loss == "token":
        recomputed = Execution(micro_batch=4, gradient_checkpointing=True, workers=1)
        assert _furthest(whole, _trained(tmp_path, datasets, tiny_checkpoint, samples, "again", execution=recomputed)) < 2e-4
        rounded = _trained(tmp_path, datasets, tiny_checkpoint, samples, "bf16", execution=Execution(precision="bf16"))
        assert 1e-6 < _furthest(whole, rounded) < 0.02


def test_batches_of_like_length_have_less_padding_and_every_sample_once(datasets):
    lengths = [10 + 7 * (n % 23) for n in range(400)]
    grouped = EffectiveBatches(400, 8, 8, seed=1, lengths=lengths).draw()
    random_order = EffectiveBatches(400, 8, 8, seed=1).draw()

    def padding(batches):
        return sum(max(lengths[at] for at in batch) * len(batch) - sum(lengths[at] for at in batch) for batch in batches)

    assert sorted(at for batch in grouped for at in batch) == list(range(400))
    assert padding(grouped) < 0.2 * padding(random_order)


def test_an_adapter_answers_alike_merged_and_on_its_base(tiny_checkpoint, datasets, tmp_path):
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 24), epochs=4, learning_rate=5e-3, lora_rank=4)
    train(folder)
    output = folder / "output"
    base, merged = (AutoModelForImageTextToText.from_pretrained(path).eval() for path in (tiny_checkpoint, output))
    adapted = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(tiny_checkpoint), output / ADAPTER).eval()
    batch = _batch(tiny_checkpoint, datasets, _samples(datasets, 6))
    batch.pop("labels")
    with torch.inference_mode():
        before, one, other = (model(**batch).logits for model in (base, merged, adapted))
    assert (one - other).abs().max() < 1e-3
    assert (one - before).abs().max() > 0.1
    config = json.loads((output / ADAPTER / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == weights_sha256(tiny_checkpoint)
    parts = {
        name.split(".layers.")[0].split(".blocks.")[0] for name in load_file(output / ADAPTER / "adapter_model.safetensors")
    }
    assert any("visual" in part for part in parts)
    assert any("merger" in part for part in parts)
    assert any("language_model" in part for part in parts)


async def test_engines_serve_an_adapter_as_its_merged_version(tiny_checkpoint, datasets, tmp_path):
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 24), epochs=4, learning_rate=5e-3, lora_rank=4)
    await asyncio.to_thread(train, folder)
    output = folder / "output"
    prompts = [
        Prompt(load_image(numbered_png(n)), answer_prompt(f"what is {n}?"), Decoding(max_new_tokens=8), scored=True)
        for n in range(8)
    ]

    async def ask(model):
        return [(reply.text, round(reply.logprob, 2)) for reply in await asyncio.gather(*map(model.generate, prompts))]

    base = await load_model(tiny_checkpoint, EngineSettings(max_lora_rank=8))
    merged = await load_model(output, EngineSettings())
    before = await ask(base)
    adapted = await base.with_adapter(output / ADAPTER)
    assert await ask(adapted) == await ask(merged)
    mixed = await asyncio.gather(ask(base), ask(adapted), ask(base))
    assert mixed == [before, await ask(merged), before], "chosen per request"
    assert before != await ask(merged)
    await adapted.close()
    assert await ask(base) == before
    with pytest.raises(InvalidInput, match="goes with a base"):
        await merged.with_adapter(output / ADAPTER)
    await base.close()
    await merged.close()


@pytest.mark.parametrize("sharded", [False, True], ids=["replicated", "sharded"])
def test_two_processes_end_with_the_weights_of_one(tiny_checkpoint, datasets, tmp_path, sharded):
    """Real processes over gloo; sharded is FSDP. The odd last batch needs a sample to fill up with."""
    samples = _samples(datasets, 21)
    spread = Execution(processes=2, micro_batch=1, sharded=sharded, gradient_checkpointing=sharded)
    weights = []
    for name, execution in (("one", Execution()), ("two", spread)):
        folder = _job(tmp_path, datasets, tiny_checkpoint, samples, name, batch_size=4, execution=execution)
        done = subprocess.run([*TRAIN, str(folder)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(load_file(folder / "output" / "model.safetensors"))
    assert _furthest(*weights) < 1e-4
    assert Progress.read(folder).step == 6
    AutoModelForImageTextToText.from_pretrained(folder / "output")


def test_the_whole_student_moves_and_what_is_saved_loads(tiny_checkpoint, datasets, tmp_path):
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 24), epochs=4)
    train(folder)
    output = folder / "output"
    check(output)
    assert len(canaries.read(output)) > 0
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("visual.patch_embed", "visual.blocks", "visual.merger", "layers.0", "embed_tokens"):
        assert any(part in name for name in moved), part
    assert processor_sha256(output) == processor_sha256(tiny_checkpoint)
    assert Progress.read(folder).step == Progress.read(folder).total_steps == 12
    AutoModelForImageTextToText.from_pretrained(output)


@pytest.mark.parametrize(
    ("settings", "tensors"),
    [
        ({}, "model.safetensors"),
        ({"lora_rank": 4, "learning_rate": 5e-3}, "adapter/adapter_model.safetensors"),
        ({"execution": Execution(processes=2, sharded=True)}, "model.safetensors"),
    ],
    ids=["whole", "adapter", "sharded"],
)
def test_killed_in_the_middle_it_ends_with_the_same_weights(tiny_checkpoint, datasets, tmp_path, settings, tensors):
    samples = _samples(datasets, 2 * 60)
    unbroken = _job(tmp_path, datasets, tiny_checkpoint, samples, "unbroken", batch_size=2, **settings)
    killed = _job(tmp_path, datasets, tiny_checkpoint, samples, "killed", batch_size=2, **settings)
    subprocess.run([*TRAIN, str(unbroken)], check=True, capture_output=True)
    process = subprocess.Popen([*TRAIN, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((killed / "checkpoints").glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive, "orphans would fight the resumption"
    assert not (killed / "output").exists()
    subprocess.run([*TRAIN, str(killed)], check=True, capture_output=True)
    one, other = (load_file(folder / "output" / tensors) for folder in (unbroken, killed))
    assert _furthest(one, other) < 1e-5


def test_ranks_end_with_a_launcher_that_is_told_to_stop(tiny_checkpoint, datasets, tmp_path):
    execution = Execution(processes=2)
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 24), execution=execution, batch_size=2, epochs=100)
    process = subprocess.Popen([*TRAIN, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "progress.json").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    assert process.wait(timeout=40) == -signal.SIGTERM, "the service tells a stop from a failure by it"
    assert len(ranks) >= 2
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive


def test_why_a_training_failed_is_left_for_people(tiny_checkpoint, datasets, tmp_path):
    execution = Execution(processes=2)
    folder = _job(tmp_path, datasets, tiny_checkpoint, _samples(datasets, 4), execution=execution)
    next((tmp_path / "datasets").glob("*.jsonl")).unlink()
    done = subprocess.run([*TRAIN, str(folder)], capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "upload it first" in (folder / "error.txt").read_text()


def test_what_can_not_be_divided_is_refused():
    assert Execution(processes=2, micro_batch=2).divide(16) == (2, 4)
    with pytest.raises(InvalidInput, match="16"):
        Execution(processes=3).divide(16)
