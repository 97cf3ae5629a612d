"""Trainings as jobs, in one process and in several: their results, kills and stops."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.core.tasks import answer_prompt
from services.engines.checkpoint import check, processor_sha256, weights_sha256
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from services.student import canaries
from services.student.datasets import DatasetStore
from services.student.execution import Execution
from services.student.manifest import ADAPTER
from services.student.progress import TrainingProgress
from tests.pictures import numbered_png
from tests.student.trainings import batch_of, furthest, new_job, new_samples

TRAIN = [sys.executable, "-m", "services.student.training"]
ODD = 21
"""Samples that leave an odd last batch."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adapted(tiny_checkpoint, tmp_path_factory):
    """Checkpoint of a trained adapter."""
    from services.student.training import train

    root = tmp_path_factory.mktemp("adapted")
    datasets = DatasetStore(root)
    samples = new_samples(datasets, 24)
    settings = {"epochs": 4, "learning_rate": 5e-3, "lora_rank": 4}
    folder = new_job(root, datasets, tiny_checkpoint, samples, **settings)
    train(folder)
    return folder / "output"


@pytest.fixture(scope="module")
def weights_of_one(tiny_checkpoint, tmp_path_factory):
    """Weights of a training on ODD samples in one process."""
    from safetensors.torch import load_file

    from services.student.training import train

    root = tmp_path_factory.mktemp("one")
    datasets = DatasetStore(root)
    folder = new_job(root, datasets, tiny_checkpoint, new_samples(datasets, ODD), batch_size=4)
    train(folder)
    return load_file(folder / "output" / "model.safetensors")


@pytest.fixture(scope="module")
def weights_of_unbroken(tiny_checkpoint, tmp_path_factory):
    """Weights of a training that ran in one piece, made once for each settings."""
    from safetensors.torch import load_file

    known: dict[str, Any] = {}

    def weights_of(settings, tensors):
        if (key := str(settings)) not in known:
            root = tmp_path_factory.mktemp("unbroken")
            datasets = DatasetStore(root)
            samples = new_samples(datasets, 2 * 60)
            folder = new_job(root, datasets, tiny_checkpoint, samples, batch_size=2, **settings)
            subprocess.run([*TRAIN, str(folder)], check=True, capture_output=True)
            known[key] = load_file(folder / "output" / tensors)
        return known[key]

    return weights_of


def test_an_adapter_answers_alike_merged_and_on_its_base(tiny_checkpoint, datasets, adapted):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    base, bare, merged = (
        AutoModelForImageTextToText.from_pretrained(path).eval()
        for path in (tiny_checkpoint, tiny_checkpoint, adapted)
    )
    on_base = PeftModel.from_pretrained(bare, adapted / ADAPTER).eval()
    batch = batch_of(tiny_checkpoint, datasets, new_samples(datasets, 6))
    batch.pop("labels")
    with torch.inference_mode():
        before, one, other = (model(**batch).logits for model in (base, merged, on_base))
    assert (one - other).abs().max() < 1e-3
    assert (one - before).abs().max() > 0.1
    config = json.loads((adapted / ADAPTER / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == weights_sha256(tiny_checkpoint)
    parts = {
        name.split(".layers.")[0].split(".blocks.")[0]
        for name in load_file(adapted / ADAPTER / "adapter_model.safetensors")
    }
    assert any("visual" in part for part in parts)
    assert any("merger" in part for part in parts)
    assert any("language_model" in part for part in parts)


async def test_engines_serve_an_adapter_as_its_merged_version(tiny_checkpoint, adapted):
    prompts = [
        Prompt(
            load_image(numbered_png(n)),
            answer_prompt(f"what is {n}?"),
            Decoding(max_new_tokens=8),
            scored=True,
        )
        for n in range(8)
    ]

    async def ask(model):
        return [
            (reply.text, round(reply.logprob, 2))
            for reply in await asyncio.gather(*map(model.generate, prompts))
        ]

    base: Any = await load_model(tiny_checkpoint, EngineSettings(max_lora_rank=8))
    merged: Any = await load_model(adapted, EngineSettings())
    before = await ask(base)
    on_base = await base.with_adapter(adapted / ADAPTER)
    assert await ask(on_base) == await ask(merged)
    mixed = await asyncio.gather(ask(base), ask(on_base), ask(base))
    assert list(mixed) == [before, await ask(merged), before], "chosen per request"
    assert before != await ask(merged)
    await on_base.close()
    assert await ask(base) == before
    with pytest.raises(InvalidInput, match="was trained on a base"):
        await merged.with_adapter(adapted / ADAPTER)
    await base.close()
    await merged.close()


def test_two_processes_end_with_the_weights_of_one(
    tiny_checkpoint, datasets, tmp_path, weights_of_one
):
    """Real processes over gloo. The odd last batch is completed by a sample.

    test_sharding.py has FSDP.
    """
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    samples = new_samples(datasets, ODD)
    settings = {
        "batch_size": 4,
        "execution": Execution(processes=2, micro_batch=1),
    }
    folder = new_job(tmp_path, datasets, tiny_checkpoint, samples, **settings)
    done = subprocess.run([*TRAIN, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = load_file(folder / "output" / "model.safetensors")
    # Keys' biases change nothing, so their gradients are rounding, which Adam makes whole steps of.
    assert furthest(weights, weights_of_one) < 2e-4
    assert TrainingProgress.read(folder).step == 6
    AutoModelForImageTextToText.from_pretrained(folder / "output")


def test_the_whole_student_moves_and_what_is_saved_loads(tiny_checkpoint, datasets, tmp_path):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from services.student.training import train

    folder = new_job(tmp_path, datasets, tiny_checkpoint, new_samples(datasets, 24), epochs=4)
    train(folder)
    output = folder / "output"
    check(output)
    assert len(canaries.read(output)) > 0
    before = load_file(tiny_checkpoint / "model.safetensors")
    after = load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in (
        "visual.patch_embed",
        "visual.blocks",
        "visual.merger",
        "layers.0",
        "embed_tokens",
    ):
        assert any(part in name for name in moved), part
    assert processor_sha256(output) == processor_sha256(tiny_checkpoint)
    assert TrainingProgress.read(folder).step == TrainingProgress.read(folder).total_steps == 12
    AutoModelForImageTextToText.from_pretrained(output)


@pytest.mark.parametrize(
    ("settings", "tensors"),
    [
        ({}, "model.safetensors"),
        ({"lora_rank": 4, "learning_rate": 5e-3}, "adapter/adapter_model.safetensors"),
        ({"execution": Execution(processes=2, sharded=True)}, "model.safetensors"),
        ({"execution": Execution(offload=True)}, "model.safetensors"),
    ],
    ids=["whole", "adapter", "sharded", "offloaded"],
)
def test_killed_in_the_middle_it_ends_with_the_same_weights(
    tiny_checkpoint, datasets, tmp_path, weights_of_unbroken, settings, tensors
):
    """The offloaded training, killed, ends as one that is neither."""
    from safetensors.torch import load_file

    samples = new_samples(datasets, 2 * 60)
    is_offloaded = settings.get("execution", Execution()).offload
    expected = weights_of_unbroken({} if is_offloaded else settings, tensors)
    killed = new_job(
        tmp_path, datasets, tiny_checkpoint, samples, "killed", batch_size=2, **settings
    )
    process = subprocess.Popen(
        [*TRAIN, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
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
    found = load_file(killed / "output" / tensors)
    assert furthest(found, expected) < (1e-4 if is_offloaded else 1e-5)


def test_ranks_end_with_a_launcher_that_is_told_to_stop(tiny_checkpoint, datasets, tmp_path):
    execution = Execution(processes=2)
    folder = new_job(
        tmp_path,
        datasets,
        tiny_checkpoint,
        new_samples(datasets, 24),
        execution=execution,
        batch_size=2,
        epochs=100,
    )
    process = subprocess.Popen(
        [*TRAIN, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (folder / "progress.json").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    assert process.wait(timeout=40) == -signal.SIGTERM, (
        "the service tells a stop from a failure by it"
    )
    assert len(ranks) >= 2
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive


def test_why_a_training_failed_is_left_for_people(tiny_checkpoint, datasets, tmp_path):
    execution = Execution(processes=2)
    folder = new_job(
        tmp_path, datasets, tiny_checkpoint, new_samples(datasets, 4), execution=execution
    )
    next((tmp_path / "datasets").glob("*.jsonl")).unlink()
    done = subprocess.run([*TRAIN, str(folder)], capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "upload it first" in (folder / "error.txt").read_text()
