"""Where the time of one training of an experiment goes: process, model, encoding, steps, canaries.

Run: python -m benchmarks.minivqa.training_parts [--samples 1336] [--epochs 2] [--threads 1]

The families' student is trained on questions about scene text by the program that the student
service starts, in a process of its own under Python's profiler. Each part's seconds contain all
that it calls. The profiler slows parts that are Python, and not those that compute.
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
from pathlib import Path

from benchmarks.folders import ROOT
from benchmarks.processes import computing
from services.core.contract import Contract
from services.core.presets import PRESETS, Hyperparameters
from services.student.datasets import DatasetStore, TrainingSample
from services.student.execution import AUTO, Execution
from services.student.job import Job
from services.student.manifest import Origin
from services.student.store import VersionStore
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

BASE = ROOT / "zoo" / "families" / "student"
PROGRAM = """
import cProfile, sys
from pathlib import Path
from services.student.training import train
profile = cProfile.Profile()
profile.runcall(train, Path(sys.argv[1]))
profile.dump_stats(sys.argv[2])
"""
PARTS = {
    "choice of the micro batch": ("training.py", "choose_attempt"),
    "hashes of the base": ("manifest.py", "verify"),
    "model and processor": ("checkpoints.py", "read_student"),
    "encoding": ("encoding.py", "__call__"),
    "joining of batches": ("encoding.py", "collate"),
    "forward": ("leveler.py", "compute_loss"),
    "backward": ("accelerator.py", "backward"),
    "optimizer": ("optimizer.py", "step"),
    "weights to disk": ("result.py", "keep"),
    "canaries": ("result.py", "complete"),
}
"""Functions by file and name; each is called by none of the others, apart from the encoder."""


def measure(samples: int, epochs: int, threads: int, folder: Path) -> dict[str, float]:
    """Seconds by part."""
    versions = VersionStore(folder / "versions")
    base = versions.path(versions.add(BASE, Origin(), Contract()))
    job = _job(samples, epochs, base, folder)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(job), str(folder / "profile")],
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
    versions.add(job / "output", Origin(), Contract(), is_ours=True)
    found["version"] = time.monotonic() - began
    found["rest"] = whole + found["version"] - sum(found.values())
    found["all"] = sum(found.values())
    return found


def _seconds(stats: pstats.Stats, function: tuple[str, str]) -> float:
    rows: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(stats)["stats"]
    return sum(
        cumulative
        for (file, _, name), (_, _, _, cumulative, _) in rows.items()
        if (Path(file).name, name) == function
    )


def _job(samples: int, epochs: int, base: Path, folder: Path) -> Path:
    datasets = DatasetStore(folder)
    drawn: list[TrainingSample] = []
    number = 0
    while len(drawn) < samples:
        picture = FAMILIES["scene_text"].draw(Part.POOL, 0, number)
        data = io.BytesIO()
        picture.image.save(data, "PNG")
        image = datasets.add_image(data.getvalue())
        question = picture.questions[0]
        drawn.append(TrainingSample(image, question.text, question.answer))
        number += 1
    usual = PRESETS["minivqa"].hyperparameters
    job = folder / "jobs" / "one"
    Job(
        id="one",
        base_version="v1",
        base_folder=str(base),
        dataset=datasets.add(drawn),
        contract=Contract(),
        hyperparameters=Hyperparameters(
            usual.learning_rate, batch_size=usual.batch_size, epochs=epochs
        ),
        store=str(folder),
        execution=Execution(micro_batch=AUTO),
    ).write(job)
    return job


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1336)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.samples, given.epochs, given.threads, Path(folder))
    for part, seconds in found.items():
        print(f"{part:26} {seconds:7.1f} s {seconds / found['all']:6.1%}")


if __name__ == "__main__":
    main()
