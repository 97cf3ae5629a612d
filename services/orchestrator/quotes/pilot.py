"""The pilot of a quote: a few images of the pool, drawn at random, for a run of its own."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator
from itertools import islice

from services.orchestrator.images.source import Source
from services.orchestrator.run.state import Pilot

AT_LEAST, SHARE = 50, 0.01


def draw(source: Source, size: int, limit: int, seed: int) -> Pilot:
    """Draws the pilot. `size` 0 is 1 % of the pool, at least 50 images.

    Goes through the pool twice, and reads no image. The key and the seed alone decide
    each image's place, so a larger draw includes the smaller one.
    """

    def keys() -> Iterator[str]:
        return (item.key for item in islice(source.walk(lambda _: True), limit or None))

    pool = sum(1 for _ in keys())
    size = size or max(AT_LEAST, math.ceil(SHARE * pool))

    def place(key: str) -> bytes:
        return hashlib.sha256(f"{seed}:{key}".encode()).digest()

    return Pilot(tuple(heapq.nsmallest(size, keys(), key=place)), pool)
