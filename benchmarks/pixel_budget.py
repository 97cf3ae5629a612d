"""Tokens, bytes and time of a photo with one pixel budget for both models, and without.

    python -m benchmarks.pixel_budget

Qwen2-VL's image processor as its checkpoints publish it, and with the preset's settings; the
orchestrator's work on one photo of 12 megapixels, and a service's.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from PIL import Image
from transformers import Qwen2VLImageProcessor

from benchmarks.intake import photo
from services.core.pixels import PixelBudget
from services.core.presets import PRESETS
from services.engines.images import LoadedImage, load_image
from services.orchestrator.images.likeness import likeness
from services.orchestrator.images.shrinking import as_sent

PUBLISHED = {"min_pixels": 3136, "max_pixels": 12_845_056}
PRESET = PRESETS["qwen2vl-2b"].image_processor
SIZES = ((4000, 3000), (120, 80), (8160, 6144), (12, 12))
REPEATS = 7


def tokens(sizes: Mapping[str, Any], image: Image.Image) -> int:
    """Visual tokens of an image."""
    processor = Qwen2VLImageProcessor(**sizes)
    return int(processor(image, return_tensors="pt")["image_grid_thw"].prod()) // 4


def sent(image: LoadedImage) -> LoadedImage:
    """The image as the orchestrator sends it."""
    return load_image(as_sent(image, PixelBudget.of_processor(PRESET)).data)


def flat(size: tuple[int, int]) -> LoadedImage:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")
    return load_image(file.getvalue())


def milliseconds(work: Callable[[], object]) -> float:
    """Median CPU time."""
    found = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found) * 1000


def main() -> None:
    for size in SIZES:
        image = flat(size)
        before = tokens(PUBLISHED, image.pixels), tokens(PRESET, image.pixels)
        now = tokens(PRESET, sent(image).pixels)
        print(
            f"{size[0]} x {size[1]}: teacher {before[0]:,} and student {before[1]:,} tokens "
            f"before, both {now:,} now"
        )
    budget = PixelBudget.of_processor(PRESET)
    data = photo(0)
    copy = as_sent(load_image(data), budget).data
    looked_at = milliseconds(lambda: likeness(load_image(data).pixels))
    shrunk = milliseconds(lambda: as_sent(load_image(data), budget))
    processor = Qwen2VLImageProcessor(**PRESET)

    def prepare(file: bytes) -> object:
        return processor(load_image(file).pixels, return_tensors="pt")

    decoded, decoded_copy = (milliseconds(partial(load_image, file)) for file in (data, copy))
    prepared, prepared_copy = (milliseconds(partial(prepare, file)) for file in (data, copy))
    print(f"bytes sent: {len(data):,} before, {len(copy):,} now")
    print(f"orchestrator: {looked_at:.0f} ms before, {looked_at + shrunk - decoded:.0f} ms now")
    print(f"each service: decoding {decoded:.0f} ms before, {decoded_copy:.0f} ms now")
    print(f"with its processor: {prepared:.0f} ms before, {prepared_copy:.0f} ms now")


if __name__ == "__main__":
    main()
