"""Batches by tokens: as many prompts as their padded lengths allow, and fewer without memory."""

import random

import pytest

from services.core.memory import Dimensions, Shape, Tower
from services.engines.token_budget import TokenBudget, bytes_of_token, padded, tokens_of_logits

QWEN2_VL_7B = Dimensions(
    8_291_375_616, Shape(28, 3584, 18944, 28, 4, 128, 152_064), Tower(32, 1280, 5120)
)


def test_without_a_limit_a_batch_is_whole():
    assert TokenBudget().first_part([5, 9000, 7], 256) == [0, 1, 2]


def test_the_shortest_prompts_come_first_and_leave_the_others_for_later():
    budget = TokenBudget(100)
    assert budget.first_part([40, 10, 12, 50], 8) == [1, 2]
    assert budget.first_part([40, 42], 8) == [0, 1]


def test_a_prompt_alone_is_always_computed():
    budget = TokenBudget(10)
    assert budget.holds([5000], 256)
    assert budget.first_part([5000, 6000], 256) == [0]


@pytest.mark.parametrize("seed", range(20))
def test_no_part_is_larger_than_the_budget_and_all_get_their_turn(seed):
    drawn = random.Random(seed)
    lengths = [drawn.randrange(20, 1500) for _ in range(64)]
    budget = TokenBudget(drawn.randrange(2000, 60_000))
    left = list(range(64))
    while left:
        chosen = [left[place] for place in budget.first_part([lengths[at] for at in left], 64)]
        part = [lengths[at] for at in chosen]
        assert len(part) == 1 or padded(part, 64) <= budget.now
        left = [at for at in left if at not in chosen]


def test_it_halves_without_memory_and_comes_back():
    budget = TokenBudget(100_000)
    budget.ran_out(64_000)
    assert budget.now == 32_000
    for _ in range(50):
        budget.computed()
    assert 60_000 < budget.now < 70_000
    for _ in range(100):
        budget.computed()
    assert budget.now == 100_000


def test_photos_fill_a_gpu_of_48_gb_in_two_batches():
    """64 photos of 1,280 tokens and replies of 256, next to the weights of Qwen2-VL-7B."""
    free = 48e9 * 0.95 - 2 * QWEN2_VL_7B.parameters
    most = int(0.8 * free) // bytes_of_token(QWEN2_VL_7B, 2)
    assert 40_000 < most < 64 * (1300 + 256)
    budget = TokenBudget(most)
    assert 32 <= len(budget.first_part([1300] * 64, 256)) < 64


def test_logits_of_scored_replies_fit_next_to_their_prompts():
    """64 replies of 32 tokens, each scored with 24 tokens of its prompt."""
    each = tokens_of_logits(QWEN2_VL_7B, 2)
    taken = 64 * (24 + 32 + 1) * QWEN2_VL_7B.language.vocabulary * 2
    counted = 64 * (24 + 32 + 1) * each * bytes_of_token(QWEN2_VL_7B, 2)
    assert 1e9 < taken <= counted < 2 * taken
