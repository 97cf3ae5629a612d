"""Check of a loaded version by its canaries (canaries.py)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.engines.model import VisionLanguageModel
from services.engines.rendering import Rendering, renderer
from services.student.canaries import Canary, prompt_for, read

AGREEMENT = 0.9
"""Share of the canaries that must pass, also among those that tell a version from its parent.

It is below 1 because another engine or number format may tip a borderline answer.
"""
TOLERANCE = 0.01
"""Largest accepted error of an answer's log probability in float32.

Measured in float32, vLLM against transformers: 1e-5 with the right weights; 0.12 (median) with some
old weights left in place, although most answers stayed the same.
"""
COARSE_TOLERANCE = 0.2
"""Largest accepted error of an answer's log probability in shorter number formats."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Number of canaries, and number answered as expected."""

    total: int
    passed: int


async def check(
    model: VisionLanguageModel,
    folder: Path,
    contract: Contract,
    tolerance: float,
    *,
    trust_remote_code: bool = False,
) -> Checked:
    """Ask a loaded version its canaries.

    One passes if the answer is the same and its log probability is within `tolerance`.
    Raises InvalidInput: CONTRACT_BROKEN (a prompt is rendered differently than when the version was
    made), or CANARY_FAILED (too many answers differ: the weights in memory are not the version's).
    """
    canaries = await asyncio.to_thread(read, folder)
    render = await asyncio.to_thread(renderer, folder, trust_remote_code)
    prompts = []
    for canary in canaries:
        image = await asyncio.to_thread(canary.image, folder)
        prompts.append(prompt_for(image, canary.question, contract))
        _require_same_rendering(folder.name, canary, await asyncio.to_thread(render, prompts[-1]))
    replies = await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    for canary, reply in zip(canaries, replies, strict=True):
        if reply.prompt_tokens != canary.rendering.tokens:
            raise InvalidInput(
                f"version {folder.name}: {canary.question!r} and its image have "
                f"{reply.prompt_tokens} tokens on this engine, "
                f"but {canary.rendering.tokens} in training",
                reason="CONTRACT_BROKEN",
            )
    passed = [
        canary.answer == reply.text and abs(canary.logprob - reply.logprob) <= tolerance
        for canary, reply in zip(canaries, replies, strict=True)
    ]
    telling = [right for right, canary in zip(passed, canaries, strict=True) if canary.changed]
    if sum(passed) < AGREEMENT * len(passed) or sum(telling) < AGREEMENT * len(telling):
        raise InvalidInput(
            f"version {folder.name}: only {sum(passed)} of {len(passed)} canary questions are "
            f"answered as its trainer computed ({sum(telling)} of {len(telling)} that tell it "
            "from its parent): the weights in memory are not the version's",
            reason="CANARY_FAILED",
        )
    return Checked(len(passed), sum(passed))


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
