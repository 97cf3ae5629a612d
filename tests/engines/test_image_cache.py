import random
import threading

import pytest

from services.core.errors import ImageUnknown
from services.engines.image_cache import ImageCache
from services.engines.images import load_image
from tests.pictures import numbered_png

IMAGES = [load_image(numbered_png(number)) for number in range(40)]


def test_knows_an_image_by_its_hash_until_it_needs_the_room():
    first, second, third = IMAGES[:3]
    cache = ImageCache(capacity_bytes=second.nbytes + third.nbytes)
    for image in (first, second, third):
        assert cache.keep(image) is image
    with pytest.raises(ImageUnknown):
        cache.get(first.sha256)
    assert cache.get(second.sha256) is second
    assert cache.get(third.sha256) is third


def test_an_image_larger_than_the_cache_is_not_kept_and_drops_nothing():
    small, large = IMAGES[0], load_image(numbered_png(256 * 200))
    cache = ImageCache(capacity_bytes=small.nbytes)
    cache.keep(small)
    assert cache.keep(large) is large
    assert cache.find(large.sha256) is None
    assert cache.get(small.sha256) is small
    assert cache.nbytes == small.nbytes


def test_the_same_image_twice_is_kept_once():
    cache = ImageCache()
    image, again = load_image(numbered_png(7)), load_image(numbered_png(7))
    assert cache.keep(image) is image
    assert cache.keep(again) is image
    assert cache.nbytes == image.nbytes


@pytest.mark.slow
def test_threads_neither_break_it_nor_its_count():
    cache = ImageCache(capacity_bytes=5 * IMAGES[0].nbytes)
    failures = []

    def use(seed):
        chosen = random.Random(seed)
        try:
            for _ in range(3000):
                image = chosen.choice(IMAGES)
                cache.keep(image)
                cache.find(chosen.choice(IMAGES).sha256)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    held = [image for image in IMAGES if cache.find(image.sha256)]
    assert cache.nbytes == sum(image.nbytes for image in held) <= 5 * IMAGES[0].nbytes
