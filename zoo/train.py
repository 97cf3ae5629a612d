"""Train the bundled teacher or student from scratch on a CPU.

Run: python -m zoo.train teacher|student [--output DIR] [--seed N]

Each step draws its scenes from a generator seeded by (seed, step). A killed run continues from DIR/progress.pt, written
every 200 steps, as if nothing had happened.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from transformers import Qwen2VLForConditionalGeneration

from zoo import architecture, curriculum
from zoo.easy_vqa import training_scenes
from zoo.packing import Packer, compute_loss

PAIR = {
    "teacher": (architecture.TEACHER, curriculum.TEACHER),
    "student": (architecture.STUDENT, curriculum.STUDENT),
}
_CHECKPOINT_STEPS = 200
_REPORT_STEPS = 50


def train(name: str, output: Path, seed: int) -> None:
    """Train one of the pair and save it, with its processor, as a transformers folder."""
    size, course = PAIR[name]
    torch.manual_seed(seed)
    processor = architecture.build_processor()
    processor.save_pretrained(output)
    model = architecture.build_model(size, processor.tokenizer).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, betas=(0.9, 0.98), weight_decay=course.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, course.scale_learning_rate)
    progress = output / "progress.pt"
    first = _resume(progress, model, optimizer, schedule)
    packer, scenes = Packer(processor), training_scenes()
    started, losses = time.monotonic(), []
    for step in range(first, course.steps):
        rng = random.Random(f"{seed} {step}")
        drawn, conversations = curriculum.plan_step(course.find_lesson(step), rng, scenes)
        batch = packer.pack([scene.image for scene in drawn], conversations)
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
        done = step + 1
        if done % _REPORT_STEPS == 0:
            rate = (done - first) / (time.monotonic() - started)
            left = (course.steps - done) / rate / 60
            recent = sum(losses[-_REPORT_STEPS:]) / len(losses[-_REPORT_STEPS:])
            print(f"{name} {done}/{course.steps} loss {recent:.4f}, {rate:.2f} steps/s, {left:.1f} min left", flush=True)
        if done % _CHECKPOINT_STEPS == 0:
            _checkpoint(progress, done, model, optimizer, schedule)
    model.save_pretrained(output)
    progress.unlink(missing_ok=True)


def _checkpoint(
    path: Path,
    step: int,
    model: Qwen2VLForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    unfinished = path.with_suffix(".tmp")
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save({"step": step, **states}, unfinished)
    unfinished.replace(path)


def _resume(
    path: Path,
    model: Qwen2VLForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """The number of steps already done."""
    if not path.exists():
        return 0
    saved = torch.load(path)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    return int(saved["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the bundled pair from scratch.")
    parser.add_argument("name", choices=tuple(PAIR))
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: zoo/NAME, beside this file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.name, arguments.output or Path(__file__).parent / arguments.name, arguments.seed)


if __name__ == "__main__":
    main()
