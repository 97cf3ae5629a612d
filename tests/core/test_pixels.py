"""Pixel budgets: read from the sizes that a contract states, and the size of a shrunk image."""

import json

import pytest

from services.core.pixels import MOST_NARROW, UNLIMITED, PixelBudget
from services.core.presets import PRESETS


@pytest.mark.parametrize(
    ("sizes", "budget"),
    [
        # Qwen2-VL and its successors, in both forms, with a preset's keys and without
        (
            {"min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14, "merge_size": 2},
            PixelBudget(12_845_056, 28),
        ),
        (
            {
                "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
                "patch_size": 16,
                "merge_size": 2,
            },
            PixelBudget(16_777_216, 32),
        ),
        (PRESETS["qwen2vl-2b"].image_processor, PixelBudget(1_003_520, 28)),
        (PRESETS["qwen3vl-8b"].image_processor, PixelBudget(1_310_720, 32)),
        # one size for all images: the bundled pair
        (
            {
                "size": {"longest_edge": 7056, "shortest_edge": 7056},
                "merge_size": 2,
                "patch_size": 14,
            },
            UNLIMITED,
        ),
        (PRESETS["smolvlm-500m"].image_processor, PixelBudget(2048**2)),
        ({"size": {"height": 448, "width": 448}, "max_patches": 12}, PixelBudget(12 * 448**2)),
        ({"size": {"height": 384, "width": 384}}, UNLIMITED),
        ({"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}, UNLIMITED),
        ({"size": 224}, UNLIMITED),
    ],
)
def test_a_budget_is_read_from_the_sizes_of_a_processor(sizes, budget):
    assert PixelBudget.of(json.dumps(sizes)) == budget


def test_unknown_sizes_are_no_budget():
    assert PixelBudget.of("") == UNLIMITED
    assert UNLIMITED.fit(50_000, 50_000) == (50_000, 50_000)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((4000, 3000), (1148, 840)),
        ((3000, 4000), (840, 1148)),
        ((8000, 6250), (1120, 868)),
        ((120, 80), (120, 80)),
        ((12, 12), (12, 12)),
        ((1, 3000), (1, 3000)),
        ((150, 15_000), (84, 9_996)),
        ((6094, 157), (6216, 140)),
    ],
)
def test_only_larger_images_are_fitted(size, fitted):
    assert PixelBudget(1_003_520, 28).fit(*size) == fitted


@pytest.mark.parametrize("size", [(100, 15_000), (40_000, 201), (100, 20_000), (19_999, 100)])
def test_an_image_that_is_narrow_enough_for_a_processor_stays_so(size):
    width, height = PixelBudget(1_003_520, 28).fit(*size)
    assert max(width, height) <= MOST_NARROW * min(width, height)
    assert width * height <= 1.02 * 1_003_520
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_budget_without_a_multiple_keeps_the_ratio():
    assert PixelBudget(10_000).fit(400, 300) == (115, 86)
