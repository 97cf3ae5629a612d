"""Reference scores of canaries, computed when a version is made (canaries.py).

python -m services.student.reference VERSION CONTRACT_JSON PLACE
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import MpaError
from services.engines.images import load_stored_image
from services.engines.loading import load_model
from services.engines.model import Exchangeable, Prompt, Reply, VisionLanguageModel
from services.engines.rendering import Render, renderer
from services.engines.settings import EngineSettings
from services.student.canaries import (
    COUNT,
    PARENT,
    Canary,
    CanaryQuestion,
    ask,
    prompt_for,
    synthetic_questions,
    write,
)
from services.student.canary_verdict import differences, root_mean_square
from services.student.datasets import DatasetStore
from services.student.job import Job

CANDIDATES = 192
DECIDED = math.log(0.6)
"""Least log probability of each token of a clearly decided answer: no other one comes near it."""
LEAST_SHARE = 0.25
"""Least share of the canaries wanted that must be left after questions that can't be scored."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReferenceWay:
    """Memory that the reference engine may take."""

    device: str = ""
    """torch's name of the device; "" is the GPU, if there is one."""
    max_batch: int = 0
    """Most prompts in a batch; 0 is the engine's default."""

    def __str__(self) -> str:
        batch = f"batches of {self.max_batch}" if self.max_batch else "full batches"
        return f"{batch} on the {self.device or 'device'}"


USUAL_WAY = ReferenceWay()


def reference_settings(
    folder: Path, way: ReferenceWay = USUAL_WAY, dtype: str = "float32"
) -> EngineSettings:
    """Settings of the engine that computes the expected scores."""
    engine = "fake" if (folder / "fake.json").is_file() else "transformers"
    return EngineSettings(engine=engine, device=way.device, max_batch=way.max_batch, dtype=dtype)


def can_compute(folder: Path) -> bool:
    """Whether the reference engine can load a checkpoint, without code of the checkpoint's own."""
    config = folder / "config.json"
    if not config.is_file() or "auto_map" not in json.loads(config.read_text()):
        return True
    from services.engines.tensors import has_class

    return has_class(folder)


async def compute(
    folder: Path,
    contract: Contract,
    questions: Sequence[CanaryQuestion],
    *,
    parent: Path | None = None,
    way: ReferenceWay = USUAL_WAY,
    place: Path | None = None,
) -> None:
    """Write the canaries of the checkpoint in `folder`: the COUNT most telling of `questions`.

    They are written to `place`, by default to `folder`. Raises MpaError: too few can be scored.
    """
    model = await load_model(folder, reference_settings(folder, way))
    try:
        candidates = await _candidates(model, contract, questions)
        parts: Sequence[str] = ()
        if parent and isinstance(model, Exchangeable):
            parts = await model.borrow(parent)
            await _add_stale(model, PARENT, parts, candidates)
        chosen = _choose(candidates)
        if isinstance(model, Exchangeable):
            for part in parts:
                await _add_stale(model, part, [part], chosen)
    finally:
        await model.close()
    model = await load_model(folder, reference_settings(folder, way, "bfloat16"))
    try:
        replies = await ask(model, [each.prompt for each in chosen])
    finally:
        await model.close()
    render = await asyncio.to_thread(renderer, folder)
    canaries = [
        replace(await _canary(candidate, render), rounded=reply.logprobs)
        for candidate, reply in zip(chosen, replies, strict=True)
    ]
    await asyncio.to_thread(write, place or folder, canaries, [each.question for each in chosen])


async def compute_by(
    model: VisionLanguageModel,
    folder: Path,
    contract: Contract,
    *,
    trust_remote_code: bool = False,
    place: Path | None = None,
) -> None:
    """Write the canaries of a checkpoint that only its own engine can load, `model`.

    They are written to `place`, by default to `folder`. Raises MpaError: too few can be scored.
    """
    questions = await asyncio.to_thread(synthetic_questions)
    chosen = _choose(await _candidates(model, contract, questions))
    render = await asyncio.to_thread(renderer, folder, trust_remote_code)
    canaries = [
        replace(await _canary(candidate, render), prompt_tokens=candidate.reply.prompt_tokens)
        for candidate in chosen
    ]
    await asyncio.to_thread(write, place or folder, canaries, [each.question for each in chosen])


async def compute_for_training(job: Job, output: Path, way: ReferenceWay = USUAL_WAY) -> None:
    """Write the canaries of a trained checkpoint, from questions of its training samples."""
    base = Path(job.base_folder)
    datasets = DatasetStore(Path(job.store))
    samples = [sample for sample in datasets.samples(job.dataset) if not sample.anchor]
    questions = []
    for sample in random.Random(job.hyperparameters.seed).sample(
        samples, min(CANDIDATES, len(samples))
    ):
        data = datasets.image_path(sample.image_sha256).read_bytes()
        questions.append(CanaryQuestion(load_stored_image(data), data, sample.question))
    await compute(output, job.contract, questions, parent=base, way=way)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A question that may become a canary. `prompt` gives the reply to score."""

    question: CanaryQuestion
    prompt: Prompt
    reply: Reply
    logprobs: tuple[float, ...]
    stale: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        return min(self.reply.logprobs, default=0.0) >= DECIDED

    @property
    def distance(self) -> float:
        """Distance of the parent's score; 0 without a parent."""
        return root_mean_square(differences(self.logprobs, self.stale.get(PARENT, ())))


async def _candidates(
    model: VisionLanguageModel, contract: Contract, questions: Sequence[CanaryQuestion]
) -> list[_Candidate]:
    """Questions with their replies and scores.

    A question whose reply can't be scored is left out: random weights may write an image's token.
    Raises MpaError: too few are left, or memory ran out.
    """
    prompts = [prompt_for(each.image, each.text, contract) for each in questions]
    replies = await ask(model, prompts)
    prompts = [
        replace(prompt, given=reply.token_ids)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    scored = await asyncio.gather(*map(model.generate, prompts), return_exceptions=True)
    found = [
        _Candidate(question, prompt, reply, score.logprobs)
        for question, prompt, reply, score in zip(questions, prompts, replies, scored, strict=True)
        if isinstance(score, Reply)
    ]
    faults = [score for score in scored if isinstance(score, BaseException)]
    for fault in faults:
        if not isinstance(fault, MpaError) or fault.reason == "OUT_OF_MEMORY":
            raise fault
    if faults:
        count = f"{len(faults)} of {len(questions)} canary questions can't be scored ({faults[0]})"
        if len(found) < LEAST_SHARE * min(COUNT, len(questions)):
            raise MpaError(
                f"{count}: too few are left to check the weights. Replies with tokens of images "
                "can't be scored: was this checkpoint trained to answer?",
                reason="CANARIES_NOT_COMPUTED",
            )
        _log.warning("%s: they are left out", count)
    return found


async def _add_stale(
    model: Exchangeable, name: str, parts: Sequence[str], candidates: Sequence[_Candidate]
) -> None:
    """Add scores with `parts` of the borrowed weights to each candidate's, under `name`."""
    await model.exchange(parts)
    replies = await ask(model, [each.prompt for each in candidates])
    await model.exchange(parts)
    for candidate, reply in zip(candidates, replies, strict=True):
        candidate.stale[name] = reply.logprobs


def _choose(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """COUNT candidates: half are the farthest from the parent. Clear answers come first."""
    telling = sorted(candidates, key=lambda each: (not each.is_clear, -each.distance))
    telling = [each for each in telling if each.distance > 0][: COUNT // 2]
    others = [each for each in candidates if not any(each is other for other in telling)]
    others.sort(key=lambda each: not each.is_clear)
    return [*telling, *others[: COUNT - len(telling)]]


async def _canary(candidate: _Candidate, render: Render) -> Canary:
    return Canary(
        image_sha256=candidate.question.image.sha256,
        question=candidate.question.text,
        answer=candidate.reply.text,
        logprob=candidate.reply.logprob,
        changed=False,
        rendering=await asyncio.to_thread(render, candidate.prompt),
        is_halved=True,
        token_ids=candidate.reply.token_ids,
        logprobs=candidate.logprobs,
        stale=candidate.stale,
    )


if __name__ == "__main__":
    _, version, terms, kept = sys.argv
    contract = Contract(**json.loads(terms))
    asyncio.run(compute(Path(version), contract, synthetic_questions(), place=Path(kept)))
