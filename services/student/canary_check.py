"""Check of a loaded version by its canaries (canaries.py, canary_verdict.py)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services import metrics, tracing
from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.rendering import Rendering, renderer
from services.student.canaries import Canary, ask, prompt_for, read
from services.student.canary_verdict import (
    LIMITS,
    CanaryVerdict,
    Scores,
    Strictness,
    differences,
    judge,
    root_mean_square,
)
from services.student.greedy_canaries import greedy_fault

FLOAT32_NOISE = 0.001
"""Noise of a token's log odds in float32, with convolutions in TF32.

On a CPU, vLLM and transformers differ by a hundredth of it.
"""
BATCHES_SHARE = 0.85
"""Share of the noise of bfloat16 that is accepted of the reference engine itself.

It rounds like the engine that computed the canaries: only batches and devices differ.
"""
USUAL_NOISE = 0.1
"""Noise in shorter formats, for canaries without scores in bfloat16."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """Number of canaries, number scored as expected, and size of the differences in noises."""

    total: int
    passed: int
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """A way to check loaded versions."""

    strictness: Strictness
    in_float32: bool
    """Whether the engine computes in float32."""
    by_reference: bool = False
    """Whether the engine is the one that computed the canaries, unless `in_float32`."""
    usual_size: float = 1.0
    """Size of the differences, in noises, with weights that are known to be right."""
    trust_remote_code: bool = False

    async def __call__(
        self,
        model: VisionLanguageModel,
        folder: Path,
        contract: Contract,
        place: Path | None = None,
    ) -> Checked:
        """Score a loaded version's canaries, which are in `place`, by default in `folder`.

        Raises InvalidInput: CONTRACT_BROKEN (a prompt is rendered differently than when the version
        was made), or CANARY_FAILED (the weights in memory are not the version's).
        """
        with tracing.span("canaries", version=folder.name):
            return await self._check(model, folder, contract, place)

    async def _check(
        self,
        model: VisionLanguageModel,
        folder: Path,
        contract: Contract,
        place: Path | None,
    ) -> Checked:
        canaries = await asyncio.to_thread(read, place or folder)
        prompts = await self.prompts(canaries, folder, contract, place)
        if all(canary.token_ids for canary in canaries):
            verdict = await self.verdict(model, folder.name, canaries, prompts)
            fault, passed, size = _explain(verdict), verdict.passed, verdict.size
        else:
            size = 1.0
            replies = await ask(model, prompts)
            _require_same_lengths(folder.name, canaries, replies)
            fault = greedy_fault(canaries, replies, self.in_float32)
            passed = 0 if fault else len(canaries)
        metrics.CANARY_CHECKS.labels("failed" if fault else "passed").inc()
        if fault:
            text = f"version {folder.name}: {fault}"
            if self.strictness is not Strictness.OFF:
                raise InvalidInput(
                    f"{text}: the weights in memory are not the version's. "
                    "If you know that they are, set MPA_STUDENT_CANARIES to lenient or off",
                    reason="CANARY_FAILED",
                )
            _log.warning("%s; it is served, since MPA_STUDENT_CANARIES is off", text)
        return Checked(len(canaries), passed, size)

    async def prompts(
        self,
        canaries: Sequence[Canary],
        folder: Path,
        contract: Contract,
        place: Path | None = None,
    ) -> list[Prompt]:
        """Prompts of a version's canaries. Raises InvalidInput: they are rendered differently."""
        render = await asyncio.to_thread(renderer, folder, self.trust_remote_code)
        prompts = []
        for canary in canaries:
            image = await asyncio.to_thread(canary.image, place or folder)
            prompts.append(prompt_for(image, canary.question, contract))
            rendering = await asyncio.to_thread(render, prompts[-1])
            _require_same_rendering(folder.name, canary, rendering)
        return prompts

    async def verdict(
        self,
        model: VisionLanguageModel,
        version: str,
        canaries: Sequence[Canary],
        prompts: Sequence[Prompt],
    ) -> CanaryVerdict:
        """CanaryVerdict on the scores of canaries that have some for each token.

        After a reload, the engine's own answers are judged, too, up to the first unexpected token:
        it computes them by other programs, which may hold other copies of the weights. They have
        fewer tokens, so only gross errors count.
        """
        found = await self.scores(model, version, canaries, prompts)
        verdict = judge(found, self.noise(found), self.strictness)
        if verdict.is_right and self.strictness is Strictness.STRICT:
            replies = await ask(model, prompts)
            answers = [_answer_alone(canary) for canary in canaries]
            written = [
                self._scores_of(answer, _found_scores(answer, reply))
                for answer, reply in zip(answers, replies, strict=True)
            ]
            by_answers = judge(written, self.noise(written), Strictness.LENIENT)
            verdict = verdict if by_answers.is_right else by_answers
        metrics.CANARY_DIFFERENCE.observe(verdict.size)
        text = "canaries of %s: differences %.2f times the noise (at most %g); not told: %s"
        untold = ", ".join(verdict.untold) or "nothing"
        _log.info(text, version, verdict.size, verdict.limit, untold)
        return verdict

    async def scores(
        self,
        model: VisionLanguageModel,
        version: str,
        canaries: Sequence[Canary],
        prompts: Sequence[Prompt],
    ) -> list[Scores]:
        """Expected scores, and those of the engine."""
        given = [
            replace(prompt, given=canary.token_ids)
            for prompt, canary in zip(prompts, canaries, strict=True)
        ]
        replies = await ask(model, given)
        _require_same_lengths(version, canaries, replies)
        return [
            self._scores_of(canary, reply.logprobs)
            for canary, reply in zip(canaries, replies, strict=True)
        ]

    def _scores_of(self, canary: Canary, found: Sequence[float]) -> Scores:
        rounded = () if self.in_float32 else canary.rounded
        return Scores(canary.logprobs, found, canary.stale, rounded)

    def noise(self, scores: Sequence[Scores]) -> float:
        """Scale of differences in the engine's number format."""
        if self.in_float32:
            return FLOAT32_NOISE
        if not all(each.rounded for each in scores):
            return USUAL_NOISE
        moved = root_mean_square(
            step for each in scores for step in differences(each.expected, each.rounded)
        )
        share = BATCHES_SHARE if self.by_reference else 1.0
        usual = min(LIMITS[Strictness.STRICT], max(1.0, self.usual_size))
        return max(FLOAT32_NOISE, moved * share * usual)


def _answer_alone(canary: Canary) -> Canary:
    """A canary without the scores of its question."""
    start = len(canary.logprobs) - len(canary.token_ids)
    return replace(
        canary,
        logprobs=canary.logprobs[start:],
        rounded=canary.rounded[start:],
        stale={part: scores[start:] for part, scores in canary.stale.items()},
    )


def _found_scores(canary: Canary, reply: Reply) -> list[float]:
    """Scores of a written reply's tokens up to the first unexpected one, with that one's.

    The expected token there was not the likeliest: its probability is at most the written one's,
    and at most the rest.
    """
    pairs = list(zip(canary.token_ids, reply.token_ids, strict=False))
    same = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))
    found = list(reply.logprobs[:same])
    if same < len(pairs):
        expected, written = canary.logprobs[same], reply.logprobs[same]
        rest = -math.expm1(min(written, 0.0))
        found.append(min(expected, written, math.log(rest) if rest > 0.0 else -math.inf))
    return found


def _explain(verdict: CanaryVerdict) -> str:
    """Fault that a verdict states; "" if there is none."""
    if verdict.stale:
        return (
            f"its canaries are scored as with the parent's weights in: {', '.join(verdict.stale)}"
        )
    if not verdict.is_right:
        return (
            f"its canaries' scores differ by {verdict.size:.1f} times the noise of rounding "
            f"(at most {verdict.limit:g})"
        )
    return ""


def _require_same_lengths(
    version: str, canaries: Sequence[Canary], replies: Sequence[Reply]
) -> None:
    for canary, reply in zip(canaries, replies, strict=True):
        expected, found = canary.prompt_tokens or canary.rendering.tokens, reply.prompt_tokens
        if found != expected:
            raise InvalidInput(
                f"version {version}: {canary.question!r} and its image have {found} tokens on this "
                f"engine, but {expected} in training",
                reason="CONTRACT_BROKEN",
            )


def _require_same_rendering(version: str, canary: Canary, found: Rendering) -> None:
    if found == canary.rendering:
        return
    part = "pixel grid" if found.token_ids == canary.rendering.token_ids else "token ids"
    then = canary.rendering
    raise InvalidInput(
        f"version {version} must not be served here: the {part} of a prompt ({canary.question!r}) "
        f"are not those of its training (here {found.tokens} tokens, {found.grid}; in training "
        f"{then.tokens} tokens, {then.grid}). The transformers release may have changed: "
        "serve the version with the release that trained it",
        reason="CONTRACT_BROKEN",
    )
