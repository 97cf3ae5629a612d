"""Measured peaks of memory against the estimates of core/memory.py and core/training_memory.py.

    python -m benchmarks.training_memory

A random Qwen2-VL of 150M parameters is trained on images of 224 x 224 pixels (64 visual tokens):
whole, whole with gradient checkpointing, in bfloat16, its attention projections and connector
alone, and by adapters of rank 16. The peak is that
of the training program's resident memory until its last optimizer step. The same model answers
questions in the transformers engine. The bar is 15 %.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import ROOT, work_folder
from benchmarks.processes import computing, end_of, peer, threads_for
from benchmarks.row import MIB, PERCENT, Question, Row
from services.core.contract import Contract
from services.core.memory import BFLOAT16, FLOAT32, RUNTIME, TEXT_TOKENS
from services.core.model_parts import ALL
from services.core.presets import Hyperparameters
from services.core.training_memory import TrainingWay, training_bytes
from services.engines import weights
from services.engines.dimensions import largest_sample, read_dimensions
from services.engines.settings import EngineSettings
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from services.student.progress import TrainingProgress
from services.student.trainable import trained_parameters
from zoo.architecture import build_processor

SIDE = 224
BATCH = 4
SAMPLES = 2 * BATCH
RANK = 16
REQUESTS = 16
QUESTION_TOKENS = 16
"""Question, answer and end of the turn."""
KIB = 1024
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """One measured training."""

    name: str
    execution: Execution
    lora_rank: int = 0
    trainable: str = ALL

    @property
    def hyperparameters(self) -> Hyperparameters:
        return Hyperparameters(
            learning_rate=1e-5,
            batch_size=BATCH,
            lora_rank=self.lora_rank,
            trainable=self.trainable,
        )


CASES = (
    Case("full", Execution(micro_batch=1, precision="fp32")),
    Case("full-micro-4", Execution(micro_batch=4, precision="fp32")),
    Case("full-bf16", Execution(micro_batch=2, precision="bf16")),
    Case(
        "checkpointing",
        Execution(micro_batch=4, precision="fp32", gradient_checkpointing=True),
    ),
    Case("lora", Execution(micro_batch=2, precision="fp32"), RANK),
    Case("attention", Execution(micro_batch=2, precision="fp32"), trainable="attention"),
)


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "150m":
        return
    folder = work_folder("training-memory")
    base = _base(folder / "base")
    dataset = _dataset(folder)
    for case in CASES:
        peak = await _peak(_job(folder, case, base, dataset), folder / f"{case.name}.log")
        yield _row(case.name, "a training", _estimate(base, case), peak)
    yield await measure_serving(folder)


async def measure_serving(folder: Path) -> Row:
    """Weights in float32 and what computes them, by the transformers engine in one process."""
    settings = EngineSettings(device="cpu")
    estimate = weights.memory_bytes(checkpoint("150m"), settings, None) + RUNTIME
    arguments = (str(checkpoint("150m")), "150m", "transformers")
    async with peer("direct", folder, threads_for("150m"), *arguments) as engine:
        await engine.ask(first_image=0, images=REQUESTS, per_image=1)
        return _row("serving", "an engine", estimate, _high_water(engine.pid))


def _row(name: str, what: str, estimate: int, peak: int) -> Row:
    question = Question(
        name=f"training-memory-{name}",
        what=f"error of the estimated memory of {what}: {name}",
        other="-",
        model="150m",
        engine="transformers",
        unit="percent",
        at_most=15.0,
    )
    return question.counted(
        PERCENT * abs(estimate - peak) / peak,
        runs=1,
        estimate_mib=estimate // MIB,
        peak_mib=peak // MIB,
        side=SIDE,
    )


def _base(folder: Path) -> Path:
    """The 150M checkpoint, with a processor of SIDE pixels."""
    build_processor(side=SIDE).save_pretrained(folder)
    for file in checkpoint("150m").iterdir():
        if not (folder / file.name).exists():
            os.link(file, folder / file.name)
    return folder


def _dataset(folder: Path) -> str:
    store = DatasetStore(folder)
    file = io.BytesIO()
    Image.effect_noise((SIDE, SIDE), 64).convert("RGB").save(file, "PNG")
    image = store.add_image(file.getvalue())
    return store.add([TrainingSample(image, f"What is number {n}?", "red") for n in range(SAMPLES)])


def _job(folder: Path, case: Case, base: Path, dataset: str) -> Path:
    job = folder / "jobs" / case.name
    Job(
        id=case.name,
        base_version="v1",
        base_folder=str(base),
        dataset=dataset,
        contract=Contract(),
        hyperparameters=case.hyperparameters,
        store=str(folder),
        execution=case.execution,
    ).write(job)
    return job


def _estimate(base: Path, case: Case) -> int:
    execution = case.execution
    way = TrainingWay(
        micro_batch=execution.micro_batch,
        share=BATCH,
        checkpointing=execution.gradient_checkpointing,
        lora_rank=case.lora_rank,
        trained=trained_parameters(base, case.hyperparameters),
        value_bytes=FLOAT32 if execution.precision == "fp32" else BFLOAT16,
        base_bytes=FLOAT32,
    )
    largest = largest_sample(base)
    sample = replace(largest, tokens=largest.tokens - TEXT_TOKENS + QUESTION_TOKENS)
    return training_bytes(read_dimensions(base), sample, way)


async def _peak(job: Path, log: Path) -> int:
    """Largest resident memory of the training program, in bytes, until it writes its result."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.student.training",
            str(job),
            cwd=ROOT,
            env={**os.environ, **computing(len(os.sched_getaffinity(0))), "HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=output,
        )
    peak = 0
    try:
        while process.returncode is None and not _has_learned(job):
            peak = max(peak, _high_water(process.pid))
            await asyncio.sleep(LOOK_EVERY_S)
        if process.returncode:
            raise RuntimeError(f"the training failed:\n{end_of(log)}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return peak


def _has_learned(job: Path) -> bool:
    progress = TrainingProgress.read(job)
    return 0 < progress.total_steps <= progress.step


def _high_water(pid: int) -> int:
    """Largest resident memory of a process so far, as Linux keeps it."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    return 0


if __name__ == "__main__":
    arguments.run([measure], __doc__)
