"""Scores of the canaries of versions, measured once and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.canaries.trained import base_of, noisy, train
from benchmarks.folders import BUILD, work_folder
from benchmarks.questions import decoding
from services.core.contract import Contract
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from services.student import canaries, reference
from services.student.canaries import PARENT
from services.student.canary_check import CanaryCheck
from services.student.canary_verdict import CanaryVerdict, Scores, Strictness, judge

RESULTS = BUILD / "canaries.jsonl"
WRONG_EVERY = 3
"""Every third version is asked with wrong weights, too."""
AT_ONCE = 5
"""Prompts of a batch: rounding differs from the reference's batches."""
REFERENCE = "transformers"
RIGHT = "right"
NOISY = "noise of 1 %"
DIGITS = 6
"""Significant digits of a stored score."""


@dataclass(frozen=True, slots=True)
class ScoredVersion:
    """A version's canaries, and what was found on an engine."""

    model: str
    engine: str
    number: int
    travel: float
    """Sum of its training steps' learning rates."""
    noise: float
    """Accepted noise of a token's log odds."""
    passes: bool
    """Whether the strict check passes, which judges the engine's own answers, too."""
    canaries: list[dict[str, Any]]
    """The fields of Scores, without `found`, of each canary."""
    found: dict[str, list[list[float]]]
    """Scores of each canary, by the weights that were asked: RIGHT, NOISY, PARENT, or a part's."""

    def verdict(self, weights: str, strictness: Strictness) -> CanaryVerdict:
        """CanaryVerdict on the scores with some weights."""
        pairs = zip(self.canaries, self.found[weights], strict=True)
        scores = [Scores(found=found, **canary) for canary, found in pairs]
        return judge(scores, self.noise, strictness)


def scored_versions(model: str, engine: str) -> list[ScoredVersion]:
    """The versions that have been measured."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    found = [ScoredVersion(**json.loads(line)) for line in lines]
    return [each for each in found if (each.model, each.engine) == (model, engine)]


async def measure_version(model: str, engine: str, number: int) -> None:
    """Train a version, ask its canaries, and add their scores to RESULTS."""
    folder = work_folder(f"canaries-{engine}-{model}") / "v2"
    contract = Contract(max_new_tokens=decoding(model).max_new_tokens)
    base = base_of(model)
    questions, travel = train(model, number, folder)
    await reference.compute(folder, contract, questions, parent=base)
    known = canaries.read(folder)
    by_reference = engine == REFERENCE
    check = CanaryCheck(Strictness.STRICT, in_float32=False, by_reference=by_reference)
    prompts = await check.prompts(known, folder, contract)
    settings = EngineSettings(
        engine=engine, dtype="bfloat16", max_batch=AT_ONCE, max_model_len=512, kv_cache_gib=0.25
    )
    loaded: Any = await load_model(folder, settings)

    async def ask(asked: Any) -> list[list[float]]:
        scores = await check.scores(asked, folder.name, known, prompts)
        return [_short(each.found) for each in scores]

    right = await check.scores(loaded, folder.name, known, prompts)
    found = {RIGHT: [_short(each.found) for each in right]}
    verdict = await check.verdict(loaded, folder.name, known, prompts)
    wrong = {}
    if number % WRONG_EVERY == 0:
        wrong = {PARENT: base, NOISY: noisy(folder, folder.with_name("noisy"), number)}
    if by_reference:
        found |= await _with_exchanged(loaded, wrong, ask)
    await loaded.close()
    if not by_reference:
        for name, other in wrong.items():
            loaded = await load_model(other, settings)
            found[name] = await ask(loaded)
            await loaded.close()
    version = ScoredVersion(
        model=model,
        engine=engine,
        number=number,
        travel=travel,
        noise=check.noise(right),
        passes=verdict.is_right,
        canaries=[_canary(each) for each in right],
        found=found,
    )
    with RESULTS.open("a") as file:
        file.write(json.dumps(asdict(version)) + "\n")
    shutil.rmtree(folder)
    print(model, engine, number, f"{verdict.size:.2f}", flush=True)


async def _with_exchanged(
    loaded: Any, wrong: Mapping[str, Path], ask: Callable[[Any], Awaitable[list[list[float]]]]
) -> dict[str, list[list[float]]]:
    """Scores with wrong weights in place of the right ones: a checkpoint's, or a parent's part."""
    found = {}
    for kind, other in wrong.items():
        parts = await loaded.borrow(other)
        shares = {kind: parts} | ({part: [part] for part in parts} if kind == PARENT else {})
        for name, share in shares.items():
            await loaded.exchange(share)
            found[name] = await ask(loaded)
            await loaded.exchange(share)
    return found


def _canary(scores: Scores) -> dict[str, Any]:
    return {
        "expected": _short(scores.expected),
        "rounded": _short(scores.rounded),
        "stale": {part: _short(each) for part, each in scores.stale.items()},
    }


def _short(numbers: Sequence[float]) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
