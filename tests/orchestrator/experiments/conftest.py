"""A small experiment on scripted services: a pool, a test and labels of the same kind."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from services.orchestrator.experiments import flow, report
from services.orchestrator.experiments.file import read_experiment
from services.orchestrator.experiments.site import Site
from services.orchestrator.run.progress import Progress
from tests.orchestrator.scripted import truth
from tests.pictures import numbered_png

FILE = """
title = "A small one"
students = ["qwen2vl-2b"]
teachers = ["qwen2vl-7b"]
arms = {arms}
seeds = {seeds}
latency = 5

[tasks.vqa]
pool = "pool"
test = {{ files = "test.jsonl" }}
labels = {{ files = "labels.jsonl" }}
"""


def write(data: Path, text: str) -> Path:
    """The file of an experiment."""
    (data / "mine.toml").write_text(text)
    return data / "mine.toml"


def write_labelled(path: Path, numbers, truth=truth) -> None:
    """Two questions about each image, of two kinds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in numbers:
        data = numbered_png(number)
        (path.parent / f"{number}.png").write_bytes(data)
        for question in (f"what color is thing {number}?", f"is thing {number} red?"):
            answer = truth(hashlib.sha256(data).hexdigest(), question)
            lines.append(
                json.dumps({"image": f"{number}.png", "question": question, "answers": [answer]})
            )
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def data(tmp_path) -> Path:
    """80 images to learn from, 40 questions to measure on, 160 labels; none looks like another."""
    folder = tmp_path / "data"
    (folder / "pool").mkdir(parents=True)
    for number in range(80):
        (folder / "pool" / f"{number:03}.png").write_bytes(numbered_png(number))
    write_labelled(folder / "test.jsonl", range(1000, 1020))
    write_labelled(folder / "labels.jsonl", range(2100, 2180))
    return folder


@dataclass
class Laboratory:
    """`work()` is the command; `at` are the addresses of its services."""

    data: Path
    out: Path
    output: io.StringIO

    def experiment(
        self, text: str = FILE, name: str = "small", arms=("zero-shot", "paper"), seeds=(0,)
    ):
        file = self.data / f"{name}.toml"
        file.write_text(text.format(arms=json.dumps(list(arms)), seeds=list(seeds)))
        return read_experiment(file, self.data)

    async def work(
        self, experiment, teacher: str = "", student: str = "", patience_s=0.3, **options
    ):
        site = Site(
            self.out,
            {"qwen2vl-7b": teacher},
            {"qwen2vl-2b": student},
            patience_s=patience_s,
            **options,
        )
        with Progress(Console(file=self.output)) as progress:
            await flow.work(experiment, site, progress)
        report.write(experiment, self.out)
        return {row["arm"]: row for row in self.rows(experiment.name)}

    def rows(self, name: str = "small"):
        return json.loads((self.out / f"{name}.json").read_text())


@pytest.fixture
def laboratory(tmp_path, data) -> Laboratory:
    return Laboratory(data, tmp_path / "out", io.StringIO())
