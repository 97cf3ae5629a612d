"""Likeness of two images: a difference hash of 64 bits, and the mean colours of a 4 x 4 grid.

The hash alone takes a red circle for a blue one, and all simple drawings for one another. 99 % of
easy-VQA's 1,000 test images have one within 2 bits among 2,000 others; with the colours, 2 %
(docs/decisions/near-duplicates.md).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from itertools import pairwise

import numpy as np
from PIL import Image

BITS = 64
GRID = 4
COLOUR_TOLERANCE = 12
"""Largest difference, from 0 to 255, in each channel of each cell.

Another JPEG quality or size changes a picture by less.
"""
FLAT = 2
"""Neighbours that differ by no more count as equal, so that noise in a flat part sets no bit."""
LARGEST_DISTANCE = 12
COLOURS = slice(BITS // 8, None)


def likeness(pixels: Image.Image) -> bytes:
    """56 bytes: the hash, then the grid's RGB row by row. `pixels` is RGB."""
    small = pixels.resize((36, 32), Image.Resampling.BOX, reducing_gap=2.0)
    grey = np.asarray(small.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1] + FLAT)
    return bits.tobytes() + small.resize((GRID, GRID), Image.Resampling.BOX).tobytes()


class Likenesses:
    """A set of likenesses, searched for the nearest within `distance` bits and similar colours.

    Two hashes that differ in at most d bits agree in at least one of d + 1 bands, so only hashes
    that share a band are compared.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        edges = np.linspace(0, BITS, distance + 2).astype(int)
        self._bands = [(int(start), (1 << int(end - start)) - 1) for start, end in pairwise(edges)]
        self._members: list[dict[int, array[int]]] = [
            defaultdict(lambda: array("I")) for _ in self._bands
        ]
        self._hashes = np.zeros(1024, np.uint64)
        self._colours = np.zeros((1024, GRID * GRID * 3), np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, of: bytes) -> None:
        """Add a likeness; its number is the count of those before it."""
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._colours = np.concatenate([self._colours, np.zeros_like(self._colours)])
        bits = _bits(of)
        self._hashes[self._count] = bits
        self._colours[self._count] = np.frombuffer(of[COLOURS], np.uint8)
        for members, (start, mask) in zip(self._members, self._bands, strict=True):
            members[bits >> start & mask].append(self._count)
        self._count += 1

    def find(self, of: bytes) -> tuple[list[int], int] | None:
        """The numbers of the nearest, and how many bits differ; None if none is near."""
        bits = _bits(of)
        found = [
            np.array(members[value], np.uint32)
            for members, (start, mask) in zip(self._members, self._bands, strict=True)
            if (value := bits >> start & mask) in members
        ]
        if not found:
            return None
        numbers = np.unique(np.concatenate(found))
        differing = np.bitwise_count(self._hashes[numbers] ^ np.uint64(bits))
        near = differing <= self._distance
        numbers, differing = numbers[near], differing[near]
        colours = np.frombuffer(of[COLOURS], np.uint8).astype(np.int16)
        alike = (np.abs(self._colours[numbers] - colours) <= COLOUR_TOLERANCE).all(axis=1)
        numbers, differing = numbers[alike], differing[alike]
        if not len(numbers):
            return None
        fewest = int(differing.min())
        return [int(number) for number in numbers[differing == fewest]], fewest


def _bits(of: bytes) -> int:
    return int.from_bytes(of[: BITS // 8], "big")
