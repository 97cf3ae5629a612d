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
