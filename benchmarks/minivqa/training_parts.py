"""Where the time of an experiment's trainings goes: process, model, encoding, steps, canaries.

Run: python -m benchmarks.minivqa.training_parts [--samples 1336] [--epochs 2] [--jobs 3]
                                                 [--versions] [--threads 1]

The families' student is trained on questions about scene text by the program that the student
service starts, JOBS times in one process under Python's profiler, with another seed each time. The
versions are trials, as those of experiments, unless --versions asks for such as users get. Each
part's seconds contain all that it calls. The profiler slows parts that are Python, and not those
that compute.
"""

from __future__ import annotations

import argparse
import io
import os
import pstats
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.folders import ROOT
from benchmarks.processes import computing
from services.core.contract import Contract
from services.core.presets import PRESETS
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import AUTO, Execution
from services.student.job import Job
from services.student.manifest import Origin
from services.student.store import VersionStore
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

BASE = ROOT / "zoo" / "families" / "student"
PROGRAM = """
import cProfile, gc, sys
from pathlib import Path
from services.student.training import train
profile = cProfile.Profile()
for folder in sys.argv[2:]:
    profile.runcall(train, Path(folder))
    gc.freeze()
profile.dump_stats(sys.argv[1])
"""
PARTS = {
    "choice of the micro batch": ("training.py", "choose_attempt"),
    "hashes of the base": ("manifest.py", "verify"),
    "model and processor": ("checkpoints.py", "read_student"),
    "encoding": ("encoding.py", "_encode"),
    "joining of batches": ("encoding.py", "collate"),
    "forward": ("leveler.py", "compute_loss"),
    "backward": ("accelerator.py", "backward"),
    "optimizer": ("optimizer.py", "step"),
    "weights to disk": ("result.py", "keep"),
    "canaries": ("result.py", "complete"),
}
"""Functions by file and name; each is called by none of the others, apart from the encoder."""


@dataclass(frozen=True, slots=True)
class Work:
    """Trainings to measure."""

    samples: int
    epochs: int
    jobs: int
    versions: bool


def measure(work: Work, threads: int, folder: Path) -> dict[str, float]:
    """Seconds by part."""
    versions = VersionStore(folder / "versions")
    base = versions.path(versions.add(BASE, Origin(), Contract()))
    jobs = _jobs(work, base, folder)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "profile"), *map(str, jobs)],
        cwd=ROOT,
        env={**os.environ, **computing(threads), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    whole = time.monotonic() - began
    stats = pstats.Stats(str(folder / "profile"), stream=io.StringIO())
    found = {"process and imports": whole - _seconds(stats, ("training.py", "train"))}
    found |= {part: _seconds(stats, function) for part, function in PARTS.items()}
    began = time.monotonic()
    for job in jobs:
        versions.add(job / "output", Origin(), Contract(), is_ours=True)
    found["versions"] = time.monotonic() - began
    found["rest"] = whole + found["versions"] - sum(found.values())
    found["all"] = sum(found.values())
    return found


def _seconds(stats: pstats.Stats, function: tuple[str, str]) -> float:
    rows: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(stats)["stats"]
    return sum(
        cumulative
        for (file, _, name), (_, _, _, cumulative, _) in rows.items()
        if (Path(file).name, name) == function
    )


def _jobs(work: Work, base: Path, folder: Path) -> list[Path]:
    datasets = DatasetStore(folder)
    drawn: list[TrainingSample] = []
    number = 0
    while len(drawn) < work.samples:
        picture = FAMILIES["scene_text"].draw(Part.POOL, 0, number)
        data = io.BytesIO()
        picture.image.save(data, "PNG")
        image = datasets.add_image(data.getvalue())
        question = picture.questions[0]
        drawn.append(TrainingSample(image, question.text, question.answer))
        number += 1
    usual = PRESETS["minivqa"].hyperparameters
    dataset = datasets.add(drawn)
    jobs = [folder / "jobs" / f"job{seed}" for seed in range(work.jobs)]
    for seed, job in enumerate(jobs):
        Job(
            id=job.name,
            base_version="v1",
            base_folder=str(base),
            dataset=dataset,
            contract=Contract(),
            hyperparameters=replace(usual, epochs=work.epochs, seed=seed),
            store=str(folder),
            execution=Execution(micro_batch=AUTO),
            is_trial=not work.versions,
        ).write(job)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1336)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--versions", action="store_true", help="versions, not trials")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    work = Work(given.samples, given.epochs, given.jobs, given.versions)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(work, given.threads, Path(folder))
    for part, seconds in found.items():
        print(f"{part:26} {seconds:7.1f} s {seconds / found['all']:6.1%}")


if __name__ == "__main__":
    main()
