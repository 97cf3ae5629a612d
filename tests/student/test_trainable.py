"""Trained parts of every architecture: which weights change, and which never do."""

import json
import re

import pytest

from services.core.errors import InvalidInput
from services.core.model_parts import TOWER, is_trained, part_of
from services.core.presets import Hyperparameters
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from tests.student.trained import ANSWERS, NAMES, questions
from tests.student.trainings import furthest, new_job, new_samples

pytestmark = pytest.mark.slow
ROUNDED = Execution(micro_batch=2, precision="bf16", gradient_checkpointing=True)
CHOICES = [
    {"trainable": "attention", "execution": ROUNDED},
    {"trainable": "gate-up", "execution": ROUNDED},
    {"tower_rate": 0.0, "execution": Execution(micro_batch=2)},
]


def _learned(folder):
    from safetensors.torch import load_file

    from services.student.training import learn

    learn(folder)
    return load_file(folder / "trained" / "model.safetensors")


@pytest.fixture(scope="module", params=NAMES)
def base(request, tmp_path_factory):
    """A checkpoint in bfloat16, as published ones are, and its architecture."""
    from safetensors.torch import load_file, save_file

    from tests.architectures import ARCHITECTURES

    architecture = ARCHITECTURES[request.param]
    folder = architecture.save(tmp_path_factory.mktemp(request.param) / "base")
    weights = {
        name: one.bfloat16() for name, one in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    return folder, architecture


def test_only_the_chosen_parts_change(base, tmp_path):
    """The others are equal bit for bit."""
    import torch
    from safetensors.torch import load_file

    folder, architecture = base
    before = load_file(folder / "model.safetensors")
    datasets = DatasetStore(tmp_path)
    samples = [
        TrainingSample(datasets.add_image(question.data), question.text, ANSWERS[number % 3])
        for number, question in enumerate(questions()[:8])
    ]
    unused = re.compile(architecture.unused or "$")
    for number, choice in enumerate(CHOICES):
        job = new_job(
            tmp_path,
            datasets,
            folder,
            samples,
            f"job{number}",
            learning_rate=1e-2,
            warmup_ratio=0.0,
            **choice,
        )
        after = _learned(job)
        assert {one.dtype for one in after.values()} == {torch.bfloat16}
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        settings = Job.read(job).hyperparameters
        parts = (settings.trainable, settings.tower_rate)
        chosen = {name for name in before if is_trained(name, *parts)}
        assert moved <= chosen, choice
        assert {name for name in chosen - moved if not unused.search(name)} == set(), choice


def test_a_frozen_tower_has_no_backward_pass(tiny_checkpoint, datasets, tmp_path):
    """Nor one of its own with gradient checkpointing, for which transformers would see."""
    from services.student.trainer import prepare

    outputs = []
    for number, checkpointing in enumerate((False, True)):
        folder = new_job(
            tmp_path,
            datasets,
            tiny_checkpoint,
            new_samples(datasets, 4),
            f"job{number}",
            execution=Execution(gradient_checkpointing=checkpointing),
            trainable="attention",
        )
        trainer, _ = prepare(folder, Job.read(folder))
        for block in trainer.model.model.visual.blocks:
            block.register_forward_hook(lambda _, __, output: outputs.append(output))
        trainer.train()
    assert outputs
    assert not any(output.requires_grad for output in outputs)


def test_a_tower_learns_at_its_own_rate(tiny_checkpoint, datasets, tmp_path):
    """AdamW's first step moves a weight by the rate, whatever its gradient."""
    from safetensors.torch import load_file

    before = load_file(tiny_checkpoint / "model.safetensors")
    samples = new_samples(datasets, 4)

    def moved(name, part, **settings):
        folder = new_job(
            tmp_path,
            datasets,
            tiny_checkpoint,
            samples,
            name,
            warmup_ratio=0.0,
            weight_decay=0.0,
            **settings,
        )
        after = _learned(folder)
        chosen = [key for key in before if (part_of(key) == TOWER) == (part == TOWER)]
        return furthest({key: before[key] for key in chosen}, {key: after[key] for key in chosen})

    whole = moved("whole", TOWER)
    assert moved("slow", TOWER, tower_rate=0.1) == pytest.approx(whole / 10, rel=1e-3)
    assert moved("rest", "", tower_rate=0.1) == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("base", ["qwen2_vl"], indirect=True)
def test_stopped_and_resumed_it_ends_with_the_same_weights(base, tmp_path):
    """Trained weights are resumed in fp32, next to frozen ones in bfloat16."""
    import torch
    from transformers import TrainerCallback

    from services.student.trainer import prepare

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = control.should_training_stop = state.global_step == 3

    datasets = DatasetStore(tmp_path)
    samples = new_samples(datasets, 8)
    unbroken, stopped = (
        new_job(
            tmp_path,
            datasets,
            base[0],
            samples,
            name,
            batch_size=2,
            execution=Execution(precision="bf16"),
            trainable="attention",
            epochs=2,
        )
        for name in ("unbroken", "stopped")
    )
    trainer, _ = prepare(stopped, Job.read(stopped))
    trainer.add_callback(Stop())
    trainer.train()
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["checkpoint-3"]
    expected, found = (_learned(job) for job in (unbroken, stopped))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_frozen_weights_keep_their_format_under_bfloat16(base):
    import torch

    from services.student.checkpoints import read_student

    model, dtype = read_student(base[0], Hyperparameters(1e-3, trainable="attention"), in_bf16=True)
    assert dtype is torch.bfloat16
    formats = {parameter.requires_grad: set() for parameter in model.parameters()}
    for parameter in model.parameters():
        formats[parameter.requires_grad].add(parameter.dtype)
    assert formats == {False: {torch.bfloat16}, True: {torch.float32}}
    whole, _ = read_student(base[0], Hyperparameters(1e-3, trainable="attention"))
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}


@pytest.mark.parametrize("trainable", ["attention", "gate-up"])
def test_a_part_that_a_model_lacks_is_named(tmp_path, trainable):
    import torch
    from safetensors.torch import save_file

    from services.student.trainable import trained_parameters

    names = ("model.layers.0.mlp.fc1.weight", "model.connector.proj.weight")
    save_file({name: torch.zeros(8, 8) for name in names}, tmp_path / "model.safetensors")
    with pytest.raises(InvalidInput, match=f"trainable is '{trainable}'.* no such projections"):
        trained_parameters(tmp_path, Hyperparameters(1e-5, trainable=trainable))
