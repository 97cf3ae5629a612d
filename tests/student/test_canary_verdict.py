"""Verdicts on scores: rounding passes; other weights, and parts of stale ones, don't."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from services.core.contract import Contract
from services.engines.model import Reply
from services.engines.rendering import Rendering
from services.student.canaries import Canary, prompt_for, synthetic_questions
from services.student.canary_check import CanaryCheck
from services.student.canary_verdict import (
    BOUND,
    LIMITS,
    Scores,
    Strictness,
    differences,
    judge,
    log_odds,
    root_mean_square,
)

NOISE = 0.05
CANARIES, TOKENS = 32, 24


def probability(odds):
    return -math.log1p(math.exp(-odds))


def moved(logprobs, rng, scale):
    return [probability(log_odds(each) + rng.gauss(0, scale)) for each in logprobs]


def scores(seed, noise=NOISE, away=0.0):
    """Canaries, scored with `noise`, `away` of the way to a parent that is far from them."""
    rng = random.Random(seed)
    made = []
    for _ in range(CANARIES):
        expected = [probability(rng.uniform(-4, 8)) for _ in range(TOKENS)]
        step = [rng.gauss(0, 1) for _ in expected]
        stale = [
            probability(log_odds(each) + part) for each, part in zip(expected, step, strict=True)
        ]
        base = [
            probability(log_odds(each) + away * part)
            for each, part in zip(expected, step, strict=True)
        ]
        made.append(Scores(expected, moved(base, rng, noise), {"layer 1": stale}))
    return made


def test_log_odds_are_bounded_and_symmetric():
    assert log_odds(math.log(0.5)) == pytest.approx(0.0)
    assert log_odds(math.log(0.9)) == pytest.approx(-log_odds(math.log(0.1)))
    assert log_odds(0.0) == BOUND
    assert log_odds(-math.inf) == log_odds(math.nan) == -BOUND


def test_the_first_tokens_are_compared():
    assert differences([-0.1, -0.2], [-0.1]) == [0.0]


@pytest.mark.parametrize("strictness", [Strictness.STRICT, Strictness.LENIENT])
def test_rounding_passes(strictness):
    for seed in range(20):
        verdict = judge(scores(seed), NOISE, strictness)
        assert verdict.is_right
        assert verdict.passed == CANARIES
        assert verdict.size == pytest.approx(1.0, abs=0.15)
        assert not verdict.untold


@pytest.mark.parametrize("strictness", [Strictness.STRICT, Strictness.LENIENT])
def test_more_than_rounding_does_not(strictness):
    limit = LIMITS[strictness]
    assert judge(scores(0, noise=NOISE * limit * 0.9), NOISE, strictness).is_right
    assert not judge(scores(0, noise=NOISE * limit * 1.1), NOISE, strictness).is_right


def test_a_few_tokens_that_rounding_moves_far_are_no_fault():
    even = -math.log(2.0)
    far = Scores([even], [probability(20 * NOISE)], {"layer 1": [even]})
    assert judge([*scores(0), *[far] * 5], NOISE, Strictness.STRICT).is_right
    assert not judge([*scores(0), *[far] * 100], NOISE, Strictness.STRICT).is_right


def test_rounding_of_a_few_tokens_hides_no_other_difference():
    """The noise is mostly that of some tokens that are moved far; all others are wrong."""
    even = -math.log(2.0)
    far = Scores([even], [probability(20)], {"layer 1": [even]}, [probability(20)])
    wrong = [replace(each, rounded=each.expected) for each in scores(0, noise=0.2)]
    moved = [
        difference
        for each in [far, *wrong]
        for difference in differences(each.expected, each.rounded)
    ]
    noise = root_mean_square(moved)
    assert not judge([far, *wrong], noise, Strictness.STRICT).is_right


def with_rounding(seed, noise):
    """Canaries whose tokens share the noise of rounding alike, scored with `noise`."""
    rng = random.Random(seed)
    return [replace(each, rounded=moved(each.expected, rng, NOISE)) for each in scores(seed, noise)]


@pytest.mark.parametrize(("times", "is_right"), [(0.9, True), (1.2, False)])
def test_the_more_tokens_share_the_noise_the_less_more_of_it_passes(times, is_right):
    many = with_rounding(0, NOISE * times)
    assert judge(many, NOISE, Strictness.STRICT).is_right == is_right
    assert judge(many, NOISE, Strictness.LENIENT).is_right
    few = [replace(each, found=each.found[:1], expected=each.expected[:1]) for each in many[:4]]
    few = [replace(each, rounded=each.rounded[:1], stale={}) for each in few]
    assert judge(many, NOISE, Strictness.STRICT).limit < 1.2
    assert judge(few, NOISE, Strictness.STRICT).limit == LIMITS[Strictness.STRICT]


def test_rounding_that_an_engine_shares_with_the_reference_counts_less():
    independent = with_rounding(0, NOISE)
    halves = [
        replace(each, found=[(a + b) / 2 for a, b in zip(each.found, each.rounded, strict=True)])
        for each in independent
    ]
    sizes = [judge(each, NOISE, Strictness.STRICT).size for each in (independent, halves)]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_part_is_stale_if_it_explains_the_scores_better():
    assert judge(scores(0, away=1.0), NOISE, Strictness.LENIENT).stale == ("layer 1",)
    assert judge(scores(0, away=0.6), NOISE, Strictness.LENIENT).stale == ("layer 1",)
    nearer_to_its_own = judge(scores(0, away=0.4), NOISE, Strictness.LENIENT)
    assert nearer_to_its_own.stale == ()
    assert nearer_to_its_own.nearness == pytest.approx(0.4, abs=0.05)


class TwoCopies:
    """Engine that scores by the right weights, and writes by a copy with other ones."""

    def __init__(self, tokens, logprob, scored):
        self._tokens = tokens
        self._logprob = logprob
        self._scored = scored

    async def generate(self, prompt):
        tokens = prompt.given or self._tokens
        logprob = self._scored if prompt.given else self._logprob
        return Reply("", 5, len(tokens), token_ids=tokens, logprobs=(logprob,) * len(tokens))


CERTAIN = math.log(0.9)


def canary(question, tokens, logprob):
    return Canary(
        image_sha256=question.image.sha256,
        question=question.text,
        answer="",
        logprob=logprob * len(tokens),
        changed=False,
        rendering=Rendering("", 5, ""),
        token_ids=tokens,
        logprobs=(logprob,) * len(tokens),
        rounded=(logprob + NOISE / 10,) * len(tokens),
    )


@pytest.mark.parametrize(
    ("tokens", "probability", "is_right"),
    [((1, 2), 0.9, True), ((1, 3), 0.9, False), ((3, 2), 0.9, False), ((1, 2), 0.4, False)],
)
async def test_after_a_reload_the_engine_must_also_write_so(tokens, probability, is_right):
    questions = synthetic_questions()
    known = [canary(each, (1, 2), CERTAIN) for each in questions]
    prompts = [prompt_for(each.image, each.text, Contract()) for each in questions]
    model: Any = TwoCopies(tokens, math.log(probability), scored=CERTAIN)
    for strictness, expected in ((Strictness.STRICT, is_right), (Strictness.LENIENT, True)):
        check = CanaryCheck(strictness, in_float32=False)
        assert (await check.verdict(model, "v2", known, prompts)).is_right == expected


class Scoring:
    """Engine with given scores."""

    def __init__(self, logprob):
        self._logprob = logprob

    async def generate(self, prompt):
        tokens = prompt.given or (1, 2)
        logprobs = (self._logprob,) * len(tokens)
        return Reply("", 5, len(tokens), token_ids=tokens, logprobs=logprobs)


@pytest.mark.parametrize(("moved_by", "is_right"), [(1.0, True), (1.65, False)])
async def test_less_noise_is_accepted_of_the_engine_that_computed_the_canaries(moved_by, is_right):
    questions = synthetic_questions()
    known = [canary(each, (1, 2), CERTAIN) for each in questions]
    prompts = [prompt_for(each.image, each.text, Contract()) for each in questions]
    model: Any = Scoring(CERTAIN + moved_by * NOISE / 10)
    other = CanaryCheck(Strictness.STRICT, in_float32=False)
    assert (await other.verdict(model, "v2", known, prompts)).is_right
    itself = replace(other, by_reference=True)
    assert (await itself.verdict(model, "v2", known, prompts)).is_right == is_right


@pytest.mark.parametrize(
    ("usual_size", "is_right"), [(1.0, False), (1.4, True), (0.5, False), (9.0, True)]
)
async def test_an_engine_that_rounds_otherwise_is_measured_by_its_own_start(usual_size, is_right):
    questions = synthetic_questions()
    known = [canary(each, (1, 2), CERTAIN) for each in questions]
    prompts = [prompt_for(each.image, each.text, Contract()) for each in questions]
    check = CanaryCheck(Strictness.STRICT, in_float32=False, usual_size=usual_size)
    off: Any = Scoring(CERTAIN - 1.5 * NOISE / 10)
    assert (await check.verdict(off, "v2", known, prompts)).is_right == is_right
    far: Any = Scoring(CERTAIN - 4 * NOISE / 10)
    assert not (await check.verdict(far, "v2", known, prompts)).is_right


async def test_an_answer_that_rounding_tips_over_is_no_fault():
    """Two tokens are about as likely; the other one is written."""
    (question, *_) = synthetic_questions()
    even = math.log(0.45)
    known = [canary(question, (1,), even)]
    check = CanaryCheck(Strictness.STRICT, in_float32=False)
    prompt = prompt_for(question.image, question.text, Contract())
    model: Any = TwoCopies((2,), even, scored=even)
    verdict = await check.verdict(model, "v2", known, [prompt])
    assert verdict.is_right


def test_a_part_that_moves_less_than_rounding_is_named():
    verdict = judge(scores(0), 1.0, Strictness.LENIENT)
    assert verdict.is_right
    assert verdict.untold == ("layer 1",)
