"""Trained versions, right and wrong."""

from __future__ import annotations

import io
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor

from benchmarks.checkpoints import checkpoint
from benchmarks.folders import BUILD, ROOT
from benchmarks.questions import ask
from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE
from services.engines.images import load_stored_image
from services.student.canaries import CanaryQuestion
from services.student.checkpoints import read_model, read_student, save
from services.student.datasets import DatasetStore, TrainingSample
from services.student.encoding import Encoder, collate
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

TRAVEL = (1e-3, 1e-2)
"""Least and greatest sum of the steps' learning rates: 100 to 1,000 steps at 1e-5."""
STEPS = 8
BATCH = 8
SAMPLES = 48
NOISE = 0.01
"""Standard deviation of wrong weights' noise, times each tensor's own."""


def base_of(model: str) -> Path:
    """The parent of a model's versions, in bfloat16, as published checkpoints are."""
    folder = BUILD / "canaries-base" / model
    if not folder.is_dir():
        base = ROOT / "zoo/families/student" if model == "minivqa" else checkpoint(model)
        partial = folder.with_name(f"{model}.{os.getpid()}")
        save(read_model(base), torch.bfloat16, base, partial)
        if folder.is_dir():
            shutil.rmtree(partial)
        else:
            partial.rename(folder)
    return folder


def train(model: str, seed: int, folder: Path) -> tuple[list[CanaryQuestion], float]:
    """Train a version for a few large steps of AdamW; return canary questions and the travel."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    travel = math.exp(draw.uniform(*map(math.log, TRAVEL)))
    base = base_of(model)
    store = DatasetStore(folder.parent)
    drawn = _samples(model, seed)
    samples = [
        TrainingSample(store.add_image(data), question, answer) for data, question, answer in drawn
    ]
    processor = AutoProcessor.from_pretrained(base)
    encoder = Encoder(processor, store, ANSWER_TEMPLATE)
    student, dtype = read_student(base, Hyperparameters(travel / STEPS))
    optimizer = torch.optim.AdamW(student.parameters(), travel / STEPS)
    student.train()
    for _ in range(STEPS):
        rows = [encoder(sample) for sample in draw.sample(samples, BATCH)]
        batch = collate(rows, processor.tokenizer.pad_token_id or 0)
        student(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save(student, dtype, base, folder)
    questions = [
        CanaryQuestion(load_stored_image(data), data, question) for data, question, _ in drawn
    ]
    return questions, travel


def noisy(base: Path, folder: Path, seed: int) -> Path:
    """A checkpoint with NOISE on every tensor."""
    student, dtype = read_student(base, Hyperparameters(0.0))
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in student.parameters():
            if tensor.numel() > 1:
                tensor.add_(torch.randn_like(tensor) * tensor.std() * NOISE)
    save(student, dtype, base, folder)
    return folder


def _samples(model: str, seed: int) -> list[tuple[bytes, str, str]]:
    """Image, question and answer."""
    if model != "minivqa":
        return [
            (one.data, one.question, one.reference) for one in ask(seed * SAMPLES, SAMPLES // 2, 2)
        ]
    found = []
    for number in range(SAMPLES // len(FAMILIES) // 2):
        for family in FAMILIES.values():
            picture = family.draw(Part.POOL, seed, number)
            data = _png(picture.image)
            found += [(data, one.text, one.answer) for one in picture.questions[:2]]
    return found


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
