import gc

import pytest

from services.core.errors import Overloaded
from services.engines.image_memory import ImageMemory
from services.engines.images import load_image
from tests.pictures import png


def test_an_image_counts_until_nobody_holds_it():
    memory = ImageMemory(10_000)
    image = load_image(png(size=(40, 40)))
    memory.count(image)
    assert memory.taken_bytes == image.nbytes > 40 * 40 * 4
    with pytest.raises(Overloaded), memory.reserved(10_000):
        pass
    del image
    gc.collect()
    assert memory.taken_bytes == 0
    with memory.reserved(10_000):
        assert memory.taken_bytes == 10_000
    assert memory.taken_bytes == 0


def test_one_image_is_let_in_however_large():
    memory = ImageMemory(1_000)
    with memory.reserved(5_000), pytest.raises(Overloaded), memory.reserved(1):
        pass
