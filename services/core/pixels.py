"""Pixel budgets: most pixels of an image, the same for both models (decisions/pixel-budget.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_NARROW = 200
"""Largest ratio of the sides of an image that Qwen's processors take."""


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """Most pixels of an image. Larger images are shrunk."""

    max_pixels: int = 0
    """0: any number."""
    side_multiple: int = 1
    """Sides of a shrunk image are multiples of this many pixels, rounded as Qwen's processors do.

    So it has the size that the student's processor would give the original, and keeps it there.
    """

    @staticmethod
    def of(sizes: str) -> PixelBudget:
        """Budget of an image processor by its sizes, a contract's `pixel_budget`.

        UNLIMITED for an unknown processor, and for one that scales all images to about one size.
        """
        return PixelBudget.of_processor(json.loads(sizes)) if sizes else UNLIMITED

    @staticmethod
    def of_processor(sizes: Mapping[str, Any]) -> PixelBudget:
        """The same for parsed sizes."""
        edges = sizes.get("size")
        size: Mapping[str, int] = edges if isinstance(edges, Mapping) else {}
        if "merge_size" in sizes or "max_pixels" in sizes:  # Qwen: edges are numbers of pixels
            most = sizes.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels", 0)
            least = sizes.get("min_pixels") or size.get("shortest_edge") or 0
            multiple = sizes.get("merge_size", 2) * sizes.get("patch_size", 14)
            return PixelBudget(most, multiple) if 2 * least <= most else UNLIMITED
        if "max_patches" in sizes and {"height", "width"} <= size.keys():  # InternVL: tiles
            return PixelBudget(sizes["max_patches"] * size["height"] * size["width"])
        if "max_image_size" in sizes and "longest_edge" in size:  # Idefics3, SmolVLM: a side
            return PixelBudget(size["longest_edge"] ** 2)
        return UNLIMITED

    def of_most(self, max_pixels: int) -> PixelBudget:
        """A budget of this number of pixels for the same image processor; 0: any number."""
        return PixelBudget(max_pixels, self.side_multiple) if max_pixels else UNLIMITED

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Size of an image within the budget, at the same aspect ratio but for rounding.

        If multiples would make it too narrow for a processor, sides are whole pixels, rounded up.
        """
        multiple = self.side_multiple
        rounded = round(width / multiple) * multiple * round(height / multiple) * multiple
        if not self.max_pixels or rounded <= self.max_pixels:
            return width, height
        factor = math.sqrt(width * height / self.max_pixels)
        sides = self._side(width, factor), self._side(height, factor)
        if max(sides) > MOST_NARROW * min(sides):
            return math.ceil(width / factor), math.ceil(height / factor)
        return sides

    def _side(self, side: int, factor: float) -> int:
        multiple = self.side_multiple
        return max(multiple, math.floor(side / factor / multiple) * multiple)

    def __str__(self) -> str:
        return f"{self.max_pixels:,} pixels" if self.max_pixels else "any number of pixels"


UNLIMITED = PixelBudget()
