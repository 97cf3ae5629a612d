"""FSDP on every architecture: what is gathered alone, and the result of two processes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from tests.student.trained import ANSWERS, NAMES, questions
from tests.student.trainings import furthest, new_job

pytestmark = pytest.mark.slow
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
PROGRAM = Path(__file__).with_name("sharded.py")
TIED = "internvl"
"""Architecture that is tried with tied embeddings, too; Qwen2-VL has them anyway."""
KINDS: dict[str, dict[str, Any]] = {
    "whole": {
        "execution": Execution(
            processes=2, micro_batch=2, sharded=True, gradient_checkpointing=True
        )
    },
    "offloaded": {"execution": Execution(processes=2, micro_batch=2, offload=True)},
    "adapter": {
        "execution": Execution(processes=2, micro_batch=2, sharded=True),
        "lora_rank": 4,
    },
    "part": {
        "execution": Execution(
            processes=2, micro_batch=2, sharded=True, gradient_checkpointing=True
        ),
        "trainable": "attention",
    },
    "slow tower": {
        "execution": Execution(processes=2, micro_batch=2, sharded=True),
        "tower_rate": 0.1,
    },
}
SOME = ("qwen2_vl", "internvl2_phi3")
"""Architectures that are offloaded, and of which parts are trained, too."""


@pytest.mark.parametrize("name", NAMES)
def test_a_large_model_is_divided_by_its_layers(name):
    """Shapes alone: no weights are made. A layer of a large model is what a device gathers."""
    import torch
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy

    from services.student.sharding import plugin_settings
    from tests.architectures import ARCHITECTURES

    with torch.device("meta"):
        model, _ = ARCHITECTURES[name].build()
    settings = plugin_settings(model, in_bf16=True, offload=False)
    assert settings["mixed_precision_policy"].reduce_dtype is torch.float32
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="TRANSFORMER_BASED_WRAP", **settings
    )
    plugin.set_auto_wrap_policy(model)
    is_wrapped = fsdp2_prepare_auto_wrap_policy(plugin, model)
    assert is_wrapped is not None
    wrapped = {path: module for path, module in model.named_modules() if is_wrapped(module)}
    kinds = {type(module).__name__ for module in wrapped.values()}
    assert len(kinds) == 2, "of the tower and of the language model"
    assert all(kind.endswith(("Layer", "Block")) for kind in kinds)
    assert not any(
        path.startswith(f"{other}.") for path in wrapped for other in wrapped.keys() - {path}
    ), "no layer within a layer"


def _saved(name, folder, is_tied):
    from tests.architectures import ARCHITECTURES

    ARCHITECTURES[name].save(folder)
    if is_tied:
        from transformers import AutoModelForImageTextToText

        model = AutoModelForImageTextToText.from_pretrained(folder)
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = True
        model.tie_weights()
        model.save_pretrained(folder)
    return folder


def test_two_processes_train_every_architecture_as_one_does(tmp_path):
    """In float32: on CPUs, gloo sums as exactly as one process. Real processes."""
    from safetensors.torch import load_file

    from services.student.training import learn

    datasets = DatasetStore(tmp_path)
    samples = [
        TrainingSample(
            datasets.add_image(question.data),
            question.text,
            ANSWERS[number % 3],
            2.0 ** (number % 2),
        )
        for number, question in enumerate(questions()[:15])
    ]
    bases = {name: _saved(name, tmp_path / name, False) for name in NAMES}
    bases["tied"] = _saved(TIED, tmp_path / "tied", True)

    def job(name, kind, **settings):
        return new_job(tmp_path, datasets, bases[name], samples, f"{name}-{kind}", **settings)

    jobs = {
        (name, kind): job(name, kind, **settings)
        for name in bases
        for kind, settings in KINDS.items()
        if name in SOME or kind in ("whole", "adapter")
    }
    done = subprocess.run(
        [sys.executable, *RANKS, str(PROGRAM), *map(str, jobs.values())],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected: dict[str, Any] = {}
    for (name, kind), folder in jobs.items():
        learned = {key: value for key, value in KINDS[kind].items() if key != "execution"}
        key = f"{name}-alone-{learned}"
        if key not in expected:
            alone = job(name, key, **learned, execution=Execution(micro_batch=4))
            learn(alone)
            expected[key] = load_file(alone / "trained" / "model.safetensors")
        found = load_file(folder / "trained" / "model.safetensors")
        assert furthest(found, expected[key]) < 1e-4, (name, kind)
        before = load_file(bases[name] / "model.safetensors")
        assert furthest(found, before) > (1e-6 if kind == "adapter" else 5e-4), (name, kind)
