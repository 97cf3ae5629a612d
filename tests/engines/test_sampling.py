"""A seed decides the draws, at any place of any batch, step after step."""

import pytest

from services.core.decoding import GREEDY, Decoding

pytestmark = pytest.mark.slow
STEPS = 12


def _logits():
    import torch

    return torch.randn(50, generator=torch.Generator().manual_seed(7))


def _drawn(*decodings):
    """Tokens of each row; all rows have the same logits at each step."""
    import torch

    from services.engines.sampling import PerRequestSampling

    sampling = PerRequestSampling(decodings)
    logits = _logits()
    rows = [
        sampling(torch.zeros(0), logits.repeat(len(decodings), 1)).argmax(-1).tolist()
        for _ in range(STEPS)
    ]
    return [list(tokens) for tokens in zip(*rows, strict=True)]


def _seeded(seed, **settings):
    return Decoding(**{"temperature": 1.0, **settings}, seed=seed)


def test_the_same_seed_draws_the_same_in_any_company():
    (alone,) = _drawn(_seeded(3))
    assert _drawn(_seeded(3), _seeded(4)) == [alone, _drawn(_seeded(4))[0]]
    assert _drawn(GREEDY, _seeded(9, temperature=2.0), _seeded(3))[2] == alone
    assert _drawn(_seeded(3), _seeded(3)) == [alone, alone]


def test_another_seed_draws_otherwise():
    seeds = [0, 1, 2, 2**31, 2**63 - 1]
    assert len({tuple(tokens) for tokens in _drawn(*map(_seeded, seeds))}) == len(seeds)


def test_each_step_is_a_draw_of_its_own():
    (tokens,) = _drawn(_seeded(3))
    assert len(set(tokens)) > 3


def test_greedy_rows_stay_greedy_next_to_others():
    assert _drawn(GREEDY, _seeded(3), GREEDY)[::2] == [[_logits().argmax().item()] * STEPS] * 2


def test_the_random_bits_are_the_same_on_every_device():
    """Golden numbers of the definition in plain integers; `meta` shows that no device is named."""
    from services.engines.sampling import random_integers

    seeds = [3, 2**63 + 5, 0]
    drawn = random_integers(seeds, 7, 1001, "cpu")
    assert drawn.tolist() == [_by_hand(seed, 7, 1001) for seed in seeds]
    assert drawn[0, :3].tolist() == [2061241150, 3208558373, 1985210118]
    on_meta = random_integers(seeds, 7, 1001, "meta")
    assert (on_meta.shape, on_meta.dtype) == (drawn.shape, drawn.dtype)


def _by_hand(seed, step, width):
    """SplitMix64 by its counter, whose seed is mixed from the request's seed and the step."""

    def mixed(word):
        word %= 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    gamma = 0x9E3779B97F4A7C15
    key = mixed(mixed(seed + gamma) + step * gamma)
    words = [mixed(key + count * gamma) for count in range(1, (width + 1) // 2 + 1)]
    return [*(word & 0xFFFFFFFF for word in words), *(word >> 32 for word in words)][:width]


def test_noise_is_gumbel_and_finite_in_both_tails():
    from services.engines.sampling import gumbel_noise

    noise = gumbel_noise(range(64), 0, 50_000, "cpu")
    assert noise.isfinite().all()
    assert abs(noise.mean().item() - 0.5772) < 0.005
    assert abs(noise.var().item() - 1.6449) < 0.01
    assert noise.max() > 12


def test_draws_follow_the_probabilities():
    """Temperature and nucleus, by the share of each token in many draws."""
    import torch

    from services.engines.sampling import PerRequestSampling

    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    for temperature, top_p, expected in (
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (1.0, 0.7, [0.625, 0.375, 0.0, 0.0]),
    ):
        decodings = [_seeded(seed, temperature=temperature, top_p=top_p) for seed in range(4000)]
        drawn = PerRequestSampling(decodings)(torch.zeros(0), logits.repeat(4000, 1)).argmax(-1)
        shares = drawn.bincount(minlength=4) / 4000
        assert torch.allclose(shares, torch.tensor(expected), atol=0.03)
