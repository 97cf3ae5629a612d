"""Train the bundled teacher or student from scratch on a CPU.

Run: python -m zoo.train teacher|student [--output DIR] [--seed N]

Each step draws its scenes from a generator seeded by (seed, step). A killed run continues from
DIR/progress.pt, written every 200 steps, without a difference.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import Qwen2VLForConditionalGeneration

from zoo import architecture, curriculum
from zoo.easy_vqa import training_scenes
from zoo.packing import Batch, Packer, compute_loss

PAIR = {
    "teacher": (architecture.TEACHER, curriculum.TEACHER),
    "student": (architecture.STUDENT, curriculum.STUDENT),
}
_CHECKPOINT_STEPS = 200
_REPORT_STEPS = 50


def train(name: str, output: Path, seed: int) -> None:
    """Train a model of the pair, course by course, and save it as a transformers folder."""
    size, courses = PAIR[name]
    torch.manual_seed(seed)
    processor = architecture.build_processor()
    processor.save_pretrained(output)
    model = architecture.build_model(size, processor.tokenizer).train()
    packer = Packer(processor)
    scenes = training_scenes()
    progress = output / "progress.pt"
    current = int(torch.load(progress)["course"]) if progress.exists() else 0
    for number, course in enumerate(courses):
        if number < current:
            continue
        run = _Run(model, course, progress, number)
        earlier = sum(course.steps for course in courses[:number])
        clock = _Clock(f"{name}, course {number + 1} of {len(courses)}", course.steps, run.step)
        while run.step < course.steps:
            rng = random.Random(f"{seed} {earlier + run.step}")
            drawn, conversations = curriculum.plan_step(course.find_lesson(run.step), rng, scenes)
            loss = run.learn(packer.pack([scene.image for scene in drawn], conversations))
            clock.report(run.step, loss)
            if run.step % _CHECKPOINT_STEPS == 0:
                run.save()
    model.save_pretrained(output)
    progress.unlink(missing_ok=True)


class _Run:
    """Model, optimiser, schedule and steps of one course, continued from `progress`."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        course: curriculum.Curriculum[curriculum.Lesson],
        progress: Path,
        number: int,
    ) -> None:
        self._model = model
        self._progress = progress
        self._number = number
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=course.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=course.weight_decay,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, course.scale_learning_rate
        )
        self.step = 0
        saved: dict[str, Any] = torch.load(progress) if progress.exists() else {"course": None}
        if saved["course"] == number:
            self.step = saved["step"]
            self._model.load_state_dict(saved["model"])
            self._optimizer.load_state_dict(saved["optimizer"])
            self._schedule.load_state_dict(saved["schedule"])

    def learn(self, batch: Batch) -> float:
        """Make one step; return the loss before it."""
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss(self._model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._schedule.step()
        self.step += 1
        return float(loss.item())

    def save(self) -> None:
        unfinished = self._progress.with_suffix(".tmp")
        states = {
            part: getattr(self, f"_{part}").state_dict()
            for part in ("model", "optimizer", "schedule")
        }
        torch.save({"course": self._number, "step": self.step, **states}, unfinished)
        unfinished.replace(self._progress)


class _Clock:
    """Prints the mean loss, the rate and the time left every _REPORT_STEPS steps."""

    def __init__(self, title: str, steps: int, first: int) -> None:
        self._title = title
        self._steps = steps
        self._first = first
        self._started = time.monotonic()
        self._losses: list[float] = []

    def report(self, step: int, loss: float) -> None:
        self._losses.append(loss)
        if step % _REPORT_STEPS:
            return
        rate = (step - self._first) / (time.monotonic() - self._started)
        left = (self._steps - step) / rate / 60
        print(
            f"{self._title}: {step}/{self._steps}, loss {fmean(self._losses):.4f}, "
            f"{rate:.2f} steps/s, {left:.1f} min left",
            flush=True,
        )
        self._losses.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the bundled pair from scratch.")
    parser.add_argument("name", choices=tuple(PAIR))
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: zoo/NAME")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(
        arguments.name, arguments.output or Path(__file__).parent / arguments.name, arguments.seed
    )


if __name__ == "__main__":
    main()
