"""Errors of the canaries in bfloat16: right versions that are refused, wrong weights that pass.

    python -m benchmarks.canaries --model bundled --model minivqa --model 150m [--engine vllm]

Each version is trained for a few steps, with a seed and a learning rate of its own. Its canaries
are computed in float32, and asked in bfloat16. Wrong weights are made on the transformers engine: a
part of the parent's left in place (the vision tower, the connector, each layer), the whole parent,
and 1 % of noise on every tensor. Results of each version are kept in build/bench/canaries.jsonl, so
that a second start measures only those that are missing.
"""

from __future__ import annotations

import io
import json
import math
import random
import shutil
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import BUILD, ROOT, work_folder
from benchmarks.questions import ask, decoding
from benchmarks.row import PERCENT, Question, Row
from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE
from services.engines.images import load_stored_image
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from services.student import canaries, reference
from services.student.canary_check import CanaryCheck
from services.student.canary_verdict import LIMITS, CanaryVerdict, Scores, Strictness, judge
from services.student.checkpoints import read_student, save
from services.student.datasets import DatasetStore, TrainingSample
from services.student.encoding import Encoder, collate
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part

MODELS = ("bundled", "minivqa", "150m")
VERSIONS = {"bundled": 90, "minivqa": 90, "150m": 20}
RATES = (1e-5, 1e-3)
"""Least and greatest learning rate."""
STEPS = (2, 8)
BATCH = 8
SAMPLES = 48
WRONG_EVERY = 3
"""Every third version is asked with wrong weights, too."""
NOISE = 0.01
"""Standard deviation of wrong weights' noise, times each tensor's own."""
AT_ONCE = 5
"""Prompts of a batch: rounding differs from the reference's batches."""
RESULTS = BUILD / "canaries.jsonl"
AS_CHECKED = "as checked"
"""Name of the verdict with the engine's own answers; "" is that of the scores alone."""
STRICTNESSES = (Strictness.STRICT, Strictness.LENIENT)


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(("transformers", "vllm")):
        for number in range(given.share(VERSIONS[model])):
            if not any(line["number"] == number for line in results(model, engine)):
                await measure_version(model, engine, number)
        for row in rows(model, engine):
            yield row


def results(model: str, engine: str) -> list[dict[str, Any]]:
    """Measured versions."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    found = [json.loads(line) for line in lines]
    return [line for line in found if (line["model"], line["engine"]) == (model, engine)]


async def measure_version(model: str, engine: str, number: int) -> None:
    """Train a version, ask its canaries, and add the verdicts to RESULTS."""
    folder = work_folder(f"canaries-{engine}-{model}") / "v2"
    contract = Contract(max_new_tokens=decoding(model).max_new_tokens)
    base = base_of(model)
    questions, training = train(model, number, folder)
    await reference.compute(folder, contract, questions, parent=base)
    known = canaries.read(folder)
    check = CanaryCheck(Strictness.STRICT, in_float32=False)
    noise = check.noise(known)
    prompts = await check.prompts(known, folder, contract)
    settings = EngineSettings(
        engine=engine, dtype="bfloat16", max_batch=AT_ONCE, max_model_len=512, kv_cache_gib=0.25
    )
    loaded: Any = await load_model(folder, settings)
    verdicts = {"": judgements(await check.scores(loaded, "right", known, prompts), noise)}
    verdicts[AS_CHECKED] = [as_json(await check.verdict(loaded, "right", known, prompts))]
    if engine == "transformers" and number % WRONG_EVERY == 0:
        for parent in (base, noisy(folder, folder.with_name("noisy"), number)):
            parts = await loaded.borrow(parent)
            for wrong in wrong_parts(parts) if parent == base else [("noise of 1 %", parts)]:
                await loaded.exchange(wrong[1])
                found = await check.scores(loaded, wrong[0], known, prompts)
                verdicts[wrong[0]] = judgements(found, noise)
                await loaded.exchange(wrong[1])
    await loaded.close()
    line = {
        "model": model,
        "engine": engine,
        "number": number,
        **training,
        "tokens": sum(len(canary.logprobs) for canary in known),
        "noise": noise,
        "verdicts": verdicts,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    shutil.rmtree(folder)
    print(model, engine, number, f"{verdicts[''][0]['size']:.2f}", flush=True)


def judgements(scores: Sequence[Scores], noise: float) -> list[dict[str, Any]]:
    """Strict verdict and lenient verdict."""
    return [as_json(judge(scores, noise, strictness)) for strictness in STRICTNESSES]


def as_json(verdict: CanaryVerdict) -> dict[str, Any]:
    return {
        "right": verdict.is_right,
        "size": verdict.size,
        "stale": verdict.stale,
        "untold": verdict.untold,
    }


def wrong_parts(parts: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Names of wrong weights, with the parts that are left as in the parent."""
    return [("parent", parts), *((f"stale {part}", [part]) for part in parts)]


def base_of(model: str) -> Path:
    return ROOT / "zoo/families/student" if model == "minivqa" else checkpoint(model)


def samples_of(model: str, seed: int) -> list[tuple[bytes, str, str]]:
    """Image, question and answer."""
    if model != "minivqa":
        return [
            (one.data, one.question, one.reference) for one in ask(seed * SAMPLES, SAMPLES // 2, 2)
        ]
    found = []
    for number in range(SAMPLES // len(FAMILIES) // 2):
        for family in FAMILIES.values():
            picture = family.draw(Part.POOL, seed, number)
            data = family_file(picture.image)
            found += [(data, one.text, one.answer) for one in picture.questions[:2]]
    return found


def family_file(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def train(
    model: str, seed: int, folder: Path
) -> tuple[list[canaries.CanaryQuestion], dict[str, float]]:
    """Train a version for a few steps of AdamW; return questions for canaries, and settings."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    rate = math.exp(draw.uniform(*map(math.log, RATES)))
    steps = draw.randint(*STEPS)
    base = base_of(model)
    store = DatasetStore(folder.parent)
    drawn = samples_of(model, seed)
    samples = [
        TrainingSample(store.add_image(data), question, answer) for data, question, answer in drawn
    ]
    processor = AutoProcessor.from_pretrained(base)
    encoder = Encoder(processor, store, ANSWER_TEMPLATE)
    student, dtype = read_student(base, Hyperparameters(rate))
    optimizer = torch.optim.AdamW(student.parameters(), rate)
    student.train()
    for _ in range(steps):
        rows = [encoder(sample) for sample in draw.sample(samples, BATCH)]
        batch = collate(rows, processor.tokenizer.pad_token_id or 0)
        student(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save(student, dtype, base, folder)
    questions = [
        canaries.CanaryQuestion(load_stored_image(data), data, question)
        for data, question, _ in drawn
    ]
    return questions, {"rate": rate, "steps": steps}


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


def rows(model: str, engine: str) -> list[Row]:
    """Right versions refused, predicted from the measured sizes; wrong weights refused.

    A prediction from few versions is cautious: Student's t of a next size's logarithm.
    """
    lines = results(model, engine)
    if len(lines) < 2:
        return []
    sizes = [math.log(line["verdicts"][""][0]["size"]) for line in lines]
    middle, spread = statistics.fmean(sizes), statistics.stdev(sizes)
    found = []
    for at, strictness in enumerate(STRICTNESSES):
        reach = (math.log(LIMITS[strictness]) - middle) / (spread * math.sqrt(1 + 1 / len(lines)))
        question = Question(
            name=f"canaries-false-{strictness}-{engine}-{model}",
            what=f"right versions refused by {strictness} canaries, in bfloat16: predicted "
            f"from {len(lines)}",
            other="-",
            model=model,
            engine=engine,
            unit="of 1,000",
            at_most=1.0,
        )
        found.append(
            question.counted(
                round(1000 * upper_tail(reach, len(lines) - 1), 6),
                runs=len(lines),
                refused=sum(not line["verdicts"][""][at]["right"] for line in lines),
                typical_size=round(math.exp(middle), 3),
                largest_size=round(math.exp(max(sizes)), 3),
            )
        )
    return found + wrong_rows(model, engine, lines)


def upper_tail(reach: float, freedom: int) -> float:
    """Probability that Student's t exceeds `reach`, with `freedom` degrees of freedom."""
    root = math.sqrt(freedom)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    start, steps = math.atan(reach / root), 10_000
    width = (math.pi / 2 - start) / steps
    middles = (start + (step + 0.5) * width for step in range(steps))
    return scale * width * sum(math.cos(middle) ** (freedom - 1) for middle in middles)


def wrong_rows(model: str, engine: str, lines: Sequence[dict[str, Any]]) -> list[Row]:
    """Share of each kind of wrong weights that is refused, of those that rounding doesn't hide."""
    kinds: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for line in lines:
        for name, judged in line["verdicts"].items():
            if name in ("", AS_CHECKED):
                continue
            strict, lenient = judged
            is_hidden = strict["right"] and name.removeprefix("stale ") in strict["untold"]
            kind = "one stale layer" if "layer" in name else name
            kinds[kind].append((strict["right"], lenient["right"], is_hidden))
    found = []
    for kind, verdicts in sorted(kinds.items()):
        hidden = sum(is_hidden for _, _, is_hidden in verdicts)
        refused = sum(not passed for passed, _, _ in verdicts)
        question = Question(
            name=f"canaries-wrong-{kind.replace(' ', '-').replace('%', 'percent')}-{model}",
            what=f"wrong weights beyond rounding that strict canaries refuse, in bfloat16: {kind}",
            other="-",
            model=model,
            engine=engine,
            unit="%",
            at_least=100.0,
        )
        if hidden < len(verdicts):
            found.append(
                question.counted(
                    refused * PERCENT / (len(verdicts) - hidden),
                    runs=len(verdicts),
                    refused=refused,
                    hidden_by_rounding=hidden,
                    refused_by_lenient=sum(not passed for _, passed, _ in verdicts),
                )
            )
    return found


if __name__ == "__main__":
    arguments.run([measure], __doc__, MODELS)
