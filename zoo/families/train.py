"""Train the families' teacher or student from scratch on a CPU, in one or more sittings.

Run: python -m zoo.families.train first-teacher|teacher|student|idefics3
         [--output DIR] [--seed N] [--minutes M]

Each step draws its pictures from (seed, step), in separate processes, ahead of the trainer. A run
that was stopped or killed continues from DIR/progress.safetensors without a difference, and logs to
DIR/log.jsonl. At the end of the course, or of the minutes, DIR contains the model as an ordinary
checkpoint. The teacher begins with the first teacher's weights, the student with the tower that the
teacher's training left, idefics3 with the teacher's tower in another architecture. All are in the
folders next to DIR.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

from services.core.errors import MpaError
from zoo.anatomy import Model, Processor, prepare, tower
from zoo.families.corpus import build_tokenizer
from zoo.families.lessons import COURSES, Course, Exercise, Steps, Told, draw_pictures
from zoo.families.neighbours import look_around
from zoo.families.progress import load_progress, save_progress
from zoo.families.pupil import Pupil
from zoo.families.transplant import Original
from zoo.families.watch import Watch
from zoo.packing import Packer

PROCESSOR = (
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
)
"""Files of a processor; the last one is written last."""
WEIGHTS = "model.safetensors"
TOWER = "tower/tower.safetensors"
"""The tower is in a separate folder: vLLM loads all weights in the folder of a model."""


def train(
    course: Course, output: Path, seed: int, *, minutes: float = float("inf"), workers: int = 1
) -> None:
    """Train for `minutes` and up to the next checkpoint; save a transformers folder."""
    started = time.monotonic()
    processor = _load_processor(course, output)
    torch.manual_seed(seed)
    original = _find_original(course, output.parent)
    model = _begin(course, output.parent, processor)
    if original:
        drawn = draw_pictures(course.curriculum.lessons[0], seed, 0).values()
        images = [picture.image for pictures in drawn for picture in pictures]
        original.carry_over(model, *prepare(processor, images))
    pupil = Pupil(model, course.size, processor.tokenizer, original).train()
    run = _Run(pupil, course, output / "progress.safetensors", seed)
    packer = Packer(processor)
    curriculum = course.curriculum
    watch = Watch(packer, output / "log.jsonl", course.watched_pictures)
    last = curriculum.steps if minutes > 0 else run.step
    for exercises in _draw_ahead(Steps(course, packer, seed), run.step, last, workers):
        watch.note(run.learn(exercises))
        if run.step % course.checkpoint_steps == 0 or run.step == curriculum.steps:
            run.save()
            if curriculum.find_lesson(run.step - 1).told is Told.SPOTS:
                (output / TOWER).parent.mkdir(exist_ok=True)
                save_file(tower(model), output / TOWER)
            watch.report(run.step, pupil)
            if time.monotonic() - started > 60 * minutes:
                break
    pupil.model.save_pretrained(output)


def _begin(course: Course, trained: Path, processor: Processor) -> Model:
    """A model at the start of its course.

    It has the weights or the tower of another model in the folder `trained`, or heads that look at
    their neighbours. Raises MpaError if the other model was not trained.
    """
    if course.begins_with:
        weights = _find(trained / course.begins_with, WEIGHTS)
        return _load(weights.parent)
    model = course.architecture.build_model(course.size, processor.tokenizer)
    if course.imitates:
        return model
    if not course.tower_of:
        look_around(model)
        return model
    saved = load_file(_find(trained / course.tower_of, TOWER))
    with torch.no_grad():
        for name, parameter in tower(model).items():
            parameter.copy_(saved[name])
    return model


def _find_original(course: Course, trained: Path) -> Original | None:
    if not course.imitates:
        return None
    return Original(_load(_find(trained / course.imitates, WEIGHTS).parent))


def _load(folder: Path) -> Model:
    loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    model: Model = loaded
    return model


def _find(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise MpaError(f"there is no {path}: train {folder.name} first, into {folder}")
    return path


def _load_processor(course: Course, output: Path) -> Processor:
    """The processor of a run. Raises MpaError like `_begin`."""
    if not (output / PROCESSOR[-1]).exists():
        if course.begins_with:
            output.mkdir(parents=True, exist_ok=True)
            for name in PROCESSOR:
                copy(_find(output.parent / course.begins_with, name), output)
        else:
            built = course.architecture.build_processor(
                build_tokenizer(course.architecture), course.architecture.side, course.size.patch
            )
            built.save_pretrained(output)
    processor: Processor = AutoProcessor.from_pretrained(output)
    return processor


def _draw_ahead(steps: Steps, first: int, last: int, workers: int) -> Iterator[dict[str, Exercise]]:
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


class _Run:
    """Model, optimiser and steps of a run, continued from `progress` if it exists.

    Raises MpaError if that has another seed.
    """

    def __init__(self, pupil: Pupil, course: Course, progress: Path, seed: int) -> None:
        self._pupil = pupil
        self._curriculum = course.curriculum
        self._progress = progress
        self._seed = seed
        self._optimizer = torch.optim.AdamW(
            pupil.parameters(),
            betas=(0.9, 0.98),
            weight_decay=course.curriculum.weight_decay,
            fused=True,
        )
        self.step = 0
        if progress.exists():
            self.step, begun_with = load_progress(progress, pupil, self._optimizer)
            if begun_with != seed:
                raise MpaError(
                    f"{progress} was begun with seed {begun_with}, not {seed}: "
                    "give that seed or another folder"
                )

    def learn(self, exercises: dict[str, Exercise]) -> dict[str, float]:
        """Make one step; return each family's loss before it."""
        losses = {}
        told = self._curriculum.find_lesson(self.step).told
        for family, exercise in exercises.items():
            loss = self._pupil.compute_loss(exercise, told)
            (loss / len(exercises)).backward()
            losses[family] = loss.item()
        scale = self._curriculum.scale_learning_rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._curriculum.learning_rate * scale
        torch.nn.utils.clip_grad_norm_(self._pupil.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        return losses

    def save(self) -> None:
        """Write the state, and continue from the written one."""
        save_progress(self._progress, self._pupil, self._optimizer, self.step, self._seed)
        load_progress(self._progress, self._pupil, self._optimizer)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the families' teacher or student from scratch."
    )
    parser.add_argument("name", choices=tuple(COURSES))
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: build/families/NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="length of this sitting, up to the next checkpoint; 0 only saves the model",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    given = parser.parse_args()
    output = given.output or Path("build/families") / given.name
    train(COURSES[given.name], output, given.seed, minutes=given.minutes, workers=given.workers)


if __name__ == "__main__":
    main()
