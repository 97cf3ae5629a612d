"""Verdict on canaries of earlier releases: greedy answers, each with its probability as a whole."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from services.engines.model import Reply
from services.student.canaries import Canary

AGREEMENT = 0.5
"""Least share of equal answers."""
TOLERANCE = {False: 0.2, True: 0.01}
"""Largest accepted median error of an answer's log probability, by whether it is in float32.

Measured in float32, vLLM against transformers: 1e-5 with the right weights; 0.12 (median) with some
old weights left in place, although most answers stayed the same.
"""
TELLING = 4
"""Least number of changed answers that tell the version from its parent."""


def greedy_fault(canaries: Sequence[Canary], replies: Sequence[Reply], in_float32: bool) -> str:
    """Fault of the replies to canaries; "" if there is none.

    Answers and their probabilities tell rounding from wrong weights only in the median.
    """
    pairs = list(zip(canaries, replies, strict=True))
    errors = [
        abs(canary.logprob - reply.logprob)
        for canary, reply in pairs
        if canary.answer == reply.text
    ]
    told = [canary.answer == reply.text for canary, reply in pairs if canary.changed]
    if len(errors) < AGREEMENT * len(pairs):
        return f"only {len(errors)} of {len(pairs)} canary questions are answered alike"
    if len(told) >= TELLING and sum(told) < AGREEMENT * len(told):
        return f"only {sum(told)} of {len(told)} answers that its parent does not give"
    middle = statistics.median(errors)
    if middle > TOLERANCE[in_float32]:
        return f"its answers' log probabilities are off by {middle:.2g} (median)"
    return ""
