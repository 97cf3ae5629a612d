import io
import random

import numpy as np
import pytest
from PIL import Image

from services.orchestrator.images.likeness import LARGEST_DISTANCE, Likenesses, likeness


def scene(seed, size=(160, 120)) -> Image.Image:
    """A picture as a camera's: broad light and dark, some noise."""
    random_ = np.random.default_rng(seed)
    broad = Image.fromarray(random_.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    noise = random_.integers(-6, 7, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(broad).astype(int) + noise).clip(0, 255).astype(np.uint8))


def encoded(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def index(distance, *likenesses):
    found = Likenesses(distance)
    for one in likenesses:
        found.add(one)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, 90),
        lambda image: encoded(image, 40),
        lambda image: image.resize((80, 60)),
        lambda image: image.resize((400, 300)),
        lambda image: image.point(lambda value: min(255, value * 103 // 100)),
    ],
    ids=["jpeg 90", "jpeg 40", "half as large", "larger", "brighter"],
)
def test_the_same_picture_is_found_however_it_is_stored(change):
    scenes = [scene(seed) for seed in range(50)]
    known = index(4, *map(likeness, scenes))
    for number, image in enumerate(scenes):
        numbers, bits = known.find(likeness(change(image)))
        assert numbers == [number]
        assert bits <= 4


def test_other_pictures_are_not_alike():
    known = index(4, *(likeness(scene(seed)) for seed in range(500)))
    assert not [seed for seed in range(500, 1000) if known.find(likeness(scene(seed)))]


def test_colours_tell_apart_what_the_hash_does_not():
    red, blue = (likeness(Image.new("RGB", (64, 64), colour)) for colour in ("red", "blue"))
    assert red[:8] == blue[:8]
    assert index(4, red).find(blue) is None


@pytest.mark.parametrize("distance", [0, 1, 4, 7, LARGEST_DISTANCE])
def test_the_index_finds_what_comparing_with_all_finds(distance):
    random_ = random.Random(distance)
    centres = [random_.getrandbits(64) for _ in range(20)]
    hashes = [
        centre ^ sum(1 << bit for bit in random_.sample(range(64), random_.randrange(14)))
        for centre in centres * 30
    ]
    known = index(distance, *(bits.to_bytes(8, "big") + bytes(48) for bits in hashes))
    for bits in centres + [random_.getrandbits(64) for _ in range(20)]:
        differing = [(bits ^ other).bit_count() for other in hashes]
        fewest = min(differing)
        expected = (
            ([n for n, d in enumerate(differing) if d == fewest], fewest)
            if fewest <= distance
            else None
        )
        assert known.find(bits.to_bytes(8, "big") + bytes(48)) == expected


def test_it_grows():
    known = index(2, *(number.to_bytes(8, "big") * 7 for number in range(3000)))
    assert len(known) == 3000
    assert known.find((2999).to_bytes(8, "big") * 7) == ([2999], 0)
