"""Training samples/s: the Leveler against TRL's SFTTrainer.

    python -m benchmarks.training --model bundled

Same model, samples, effective batch and epochs. SFTTrainer keeps its defaults (gradient
checkpointing among them) except where the work would differ: batch size, learning rate, epochs,
loss on the answer only (prompt and completion, as it takes vision data), no logging services, and
on a CPU float32 instead of bf16. Only the training loop counts, as the Trainer under both reports
it. Each pair starts fresh processes. A second row turns TRL's gradient checkpointing off, as in the
Leveler.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import TRUE_SHAPED, Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import ROOT, work_folder
from benchmarks.processes import computing, end_of
from benchmarks.questions import ask
from benchmarks.row import Pair, Question, Row
from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.engines.gpus import visible_gpus
from services.environment import Environment
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from services.student.progress import TrainingProgress

SAMPLES = {"bundled": 320, "150m": 32, "qwen2vl-2b": 64, "tiny": 16}
BATCH = 16
EPOCHS = 2
THEIR_MICRO_BATCH = 4
"""Samples that TRL computes at a time on a GPU: photos and a large vocabulary."""
KINDS = {
    "": "TRL SFTTrainer, its defaults in fp32",
    "-plain": "TRL SFTTrainer in fp32, gradient checkpointing off",
}


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    folder = work_folder(f"training-{model}")
    samples = given.share(SAMPLES[model])
    threads = len(os.sched_getaffinity(0))
    dataset = _dataset(folder, samples, model)
    # Without checkpointing, a large model does not fit.
    kinds = ("",) if model in TRUE_SHAPED else tuple(KINDS)
    pairs: dict[str, list[Pair]] = {kind: [] for kind in kinds}
    for number in range(given.runs):
        ours = await _ours(folder, f"job-{number}", dataset, checkpoint(model), threads)
        for kind in kinds:
            theirs = await _theirs(folder, dataset, checkpoint(model), threads, is_plain=bool(kind))
            pairs[kind].append(Pair(EPOCHS * samples / ours, EPOCHS * samples / theirs))
    for kind, measured in pairs.items():
        question = Question(
            name=f"training{kind}-{model}",
            what="training samples/s",
            other=KINDS[kind],
            model=model,
            engine="transformers",
            unit="samples/s",
            at_least=1.0,
        )
        yield question.row(
            measured,
            samples=samples,
            epochs=EPOCHS,
            batch=BATCH,
            precision="bfloat16" if visible_gpus() else "float32",
            threads=threads,
        )


def _dataset(folder: Path, count: int, model: str) -> str:
    store = DatasetStore(folder)
    asked = ask(0, count, 1, model)
    samples = [
        TrainingSample(store.add_image(one.data), one.question, one.reference) for one in asked
    ]
    return store.add(samples)


async def _ours(folder: Path, name: str, dataset: str, base: Path, threads: int) -> float:
    """Seconds of the training loop, as progress.json has them."""
    job = folder / "jobs" / name
    settings = Hyperparameters(learning_rate=1e-5, batch_size=BATCH, epochs=EPOCHS)
    execution = Execution.from_environment(Environment("MPA_STUDENT_", os.environ))
    Job(
        id=name,
        base_version="v1",
        base_folder=str(base),
        dataset=dataset,
        contract=Contract(),
        hyperparameters=settings,
        store=str(folder),
        execution=execution,
    ).write(job)
    await _run(["services.student.training", str(job)], folder / f"{name}.log", threads)
    return TrainingProgress.read(job).seconds


async def _theirs(folder: Path, dataset: str, base: Path, threads: int, *, is_plain: bool) -> float:
    """Seconds of the training loop, as the trainer's metrics have them."""
    out = folder / "sft.json"
    request = {
        "base": str(base),
        "store": str(folder),
        "dataset": dataset,
        "batch": BATCH,
        "micro_batch": THEIR_MICRO_BATCH if visible_gpus() else BATCH,
        "epochs": EPOCHS,
        "plain": is_plain,
        "output": str(folder / "sft"),
    }
    await _run(["benchmarks.peers.sft", json.dumps(request), str(out)], folder / "sft.log", threads)
    return float(json.loads(out.read_text())["train_runtime"])


async def _run(command: list[str], log: Path, threads: int) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            cwd=ROOT,
            env={**os.environ, **computing(threads), "HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=output,
        )
    if await process.wait():
        raise RuntimeError(f"{command[0]} failed:\n{end_of(log)}")


if __name__ == "__main__":
    arguments.run([measure], __doc__)
