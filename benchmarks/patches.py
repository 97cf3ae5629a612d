"""Time of a vision tower's patch embedding, as a convolution and as a matrix product.

Run: python -m benchmarks.patches [--runs 5] [--threads 1]

Forward and backward pass of one batch: the families' student with 16 of its images, and Qwen2-VL
with an image of a million pixels. The two take turns; the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import dataclass

import torch

from services.engines.patches import multiply_patches


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch of square patches, each of three channels and two frames."""

    name: str
    patches: int
    side: int
    width: int

    def embedding(self) -> torch.nn.Sequential:
        kernel = (2, self.side, self.side)
        convolution = torch.nn.Conv3d(3, self.width, kernel, stride=kernel, bias=False)
        return torch.nn.Sequential(convolution)

    def batch(self) -> torch.Tensor:
        return torch.randn(self.patches, 3, 2, self.side, self.side)


SHAPES = (
    Shape("families' student, 16 images", patches=3136, side=8, width=96),
    Shape("Qwen2-VL, one image of a million pixels", patches=5184, side=14, width=1280),
)


def _seconds(embedding: torch.nn.Module, batch: torch.Tensor, precision: torch.dtype) -> float:
    began = time.perf_counter()
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        embedded = embedding(batch)
    embedded.float().sum().backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="number of measured pairs")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for shape in SHAPES:
        convolution = shape.embedding()
        product = copy.deepcopy(convolution)
        multiply_patches(product)
        batch = shape.batch()
        for precision in (torch.float32, torch.bfloat16):
            pairs = [
                (_seconds(product, batch, precision), _seconds(convolution, batch, precision))
                for _ in range(given.runs + 1)
            ][1:]
            ours, against = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(
                f"{shape.name}, {str(precision).removeprefix('torch.')}: product {ours:.3f} s, "
                f"convolution {against:.3f} s, ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
