"""Share of easy-VQA's test images that look like one of 2,000 training images.

Run: python -m benchmarks.likeness

Prints it for the hash alone and for the hash with the colours.
"""

from __future__ import annotations

from collections.abc import Mapping

import easy_vqa
from PIL import Image

from services.orchestrator.images.likeness import COLOURS, Likenesses, likeness

DISTANCES = (0, 2, 4, 8)
KNOWN = 2000


def likenesses(paths: Mapping[int, str]) -> list[bytes]:
    """Likenesses of the images in the order of their ids."""
    return [likeness(Image.open(path).convert("RGB")) for _, path in sorted(paths.items())]


def colourless(of: bytes) -> bytes:
    return of[: COLOURS.start] + bytes(len(of) - COLOURS.start)


def share(known: list[bytes], asked: list[bytes], distance: int) -> float:
    """Share of `asked` with a match in `known`."""
    index = Likenesses(distance)
    for one in known:
        index.add(one)
    return sum(index.find(one) is not None for one in asked) / len(asked)


def main() -> None:
    known = likenesses(easy_vqa.get_train_image_paths())[:KNOWN]
    asked = likenesses(easy_vqa.get_test_image_paths())
    for distance in DISTANCES:
        alone = share([*map(colourless, known)], [*map(colourless, asked)], distance)
        colours = share(known, asked, distance)
        print(f"{distance} bits: hash alone {alone:.1%}, with colours {colours:.1%}")


if __name__ == "__main__":
    main()
