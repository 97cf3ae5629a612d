import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.core.errors import InvalidImage
from services.engines.image_headers import read_header
from services.engines.images import (
    FORMATS,
    HALVED_ABOVE,
    MAX_BYTES,
    MAX_PASSES,
    MAX_PIXELS,
    load_image,
    load_stored_image,
    most_bytes,
)
from tests.pictures import (
    bomb_png,
    bomb_webp,
    disguised_scans_jpeg,
    encoded,
    fax_tiff,
    many_scans_jpeg,
    photo,
    png,
    slow_png,
    slow_tiff,
    wordy_png,
)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (bytes, "IMAGE_EMPTY"),
        (lambda: b"not an image at all", "IMAGE_UNREADABLE"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "IMAGE_UNREADABLE"),
        (lambda: png(size=(300, 300))[:200], "IMAGE_TRUNCATED"),
        (bomb_png, "IMAGE_TOO_MANY_PIXELS"),
        (lambda: bomb_png(12_000, 9_000), "IMAGE_TOO_MANY_PIXELS"),
        (bomb_webp, "IMAGE_TOO_MANY_PIXELS"),
        (lambda: bomb_webp(5_000, 5_000), "IMAGE_TOO_MANY_PIXELS"),
        (slow_png, "IMAGE_TOO_MANY_PIXELS"),
        (slow_tiff, "IMAGE_TOO_MANY_PIXELS"),
        (fax_tiff, "IMAGE_TOO_MANY_PIXELS"),
        (many_scans_jpeg, "IMAGE_TOO_EXPENSIVE"),
        (disguised_scans_jpeg, "IMAGE_TOO_EXPENSIVE"),
        (wordy_png, "IMAGE_UNREADABLE"),
        (lambda: b"\x89PNG" + b"\0" * MAX_BYTES, "IMAGE_TOO_LARGE"),
        (lambda: encoded(Image.new("RGB", (8, 8)), "BMP"), "IMAGE_UNREADABLE"),
        (lambda: encoded(Image.new("RGB", (8, 8)), "PPM"), "IMAGE_UNREADABLE"),
        (lambda: encoded(Image.new("RGB", (8, 8)), "ICO"), "IMAGE_UNREADABLE"),
    ],
)
def test_refuses_with_a_reason(make, reason):
    with pytest.raises(InvalidImage) as refused:
        load_image(make())
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (254, 0, 0)),
        (encoded(Image.new("I;16", (8, 8), 65535), "PNG"), (255, 255, 255)),
        (encoded(Image.new("I;16", (8, 8), 32768), "PNG"), (128, 128, 128)),
        (encoded(Image.new("RGB", (8, 8), (10, 20, 30)).convert("P"), "PNG"), None),
        (encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("L", (8, 8), 7), "PNG"), (7, 7, 7)),
        (
            encoded(
                Image.new("P", (8, 8), 0),
                "GIF",
                save_all=True,
                append_images=[Image.new("P", (8, 8), 1)],
            ),
            None,
        ),
    ],
    ids=["cmyk", "16-bit white", "16-bit grey", "palette", "transparent", "grey", "animated gif"],
)
def test_brings_every_mode_to_rgb(data, pixel):
    image = load_image(data).pixels
    assert image.mode == "RGB"
    assert image.size == (8, 8)
    if pixel:
        assert np.abs(np.asarray(image, int)[4, 4] - pixel).max() <= 2


def test_applies_exif_rotation():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (20, 10), "red"), "JPEG", exif=exif)
    assert load_image(data).pixels.size == (10, 20)


def test_tiff_is_left_out_where_it_is_not_asked_for():
    assert load_image(slow_tiff(9, 7)).pixels.size == (9, 7)
    with pytest.raises(InvalidImage, match="JPEG, PNG, WEBP, GIF"):
        load_image(slow_tiff(9, 7), FORMATS)


FLAT: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "page": (("1", (2480, 3508), 1), "PNG", {}),
    "page of fax": (("1", (2480, 3508), 1), "TIFF", {"compression": "group4"}),
    "page at 600 dpi": (("1", (4960, 7016), 1), "PNG", {}),
    "page of fax at 600 dpi": (("1", (4960, 7016), 1), "TIFF", {"compression": "group4"}),
    "page of two colors at 600 dpi": (("P", (4960, 7016)), "PNG", {"bits": 1}),
    "page at 600 dpi in a GIF": (("L", (4960, 7016), 9), "GIF", {}),
    "chart": (("P", (4000, 3000), 3), "PNG", {}),
    "white": (("RGB", (4032, 3024), "white"), "WEBP", {"lossless": True}),
    "grey": (("L", (4000, 3000), 9), "GIF", {}),
    "wall": (("RGB", (6000, 4000), "gray"), "PNG", {}),
    "dark": (("L", (8000, 6000), 9), "JPEG", {"quality": 30, "optimize": True}),
}


@pytest.mark.parametrize("name", FLAT)
def test_takes_images_that_show_nothing(name):
    drawn, kind, options = FLAT[name]
    image = Image.new(*drawn)
    data = encoded(image, kind, **options)
    loaded = load_image(data)
    half = 2 if image.width * image.height > HALVED_ABOVE else 1
    assert loaded.pixels.size == (image.width // half, image.height // half)
    assert loaded.nbytes <= most_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_large_images_are_halved_upright_and_on_white(kind):
    image = Image.radial_gradient("L").resize((5001, 3301))
    image = (
        Image.merge("RGB", (image, image, image))
        if kind == "JPEG"
        else Image.merge("LA", (image, image)).convert("RGBA")
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {
        "PNG": {"compress_level": 1},
        "JPEG": {"quality": 95},
        "WEBP": {"quality": 95, "method": 0},
    }[kind]
    small = load_image(encoded(image.resize((500, 330)), kind, exif=exif, **options)).pixels
    loaded = load_image(encoded(image, kind, exif=exif, **options)).pixels
    assert loaded.size == (1651, 2501)
    assert loaded.mode == "RGB"
    for x, y in ((0.5, 0.5), (0.1, 0.5), (0.5, 0.9), (0.3, 0.2)):
        here, there = (
            np.asarray(one, int)[int(y * one.height), int(x * one.width)] for one in (loaded, small)
        )
        assert np.abs(here - there).max() <= 6


@pytest.mark.slow
def test_a_telephones_photo_keeps_its_pixels():
    assert load_image(photo(4032, 3024)).pixels.size == (4032, 3024)
    assert load_image(photo(8160, 6120)).pixels.size == (4080, 3060)


@pytest.mark.slow
def test_what_follows_the_end_of_a_photo_is_no_scan():
    """A motion photo ends in a video: 16 MB of it have the two bytes about 250 times."""
    video = random.Random(0).randbytes(16 * 2**20)
    assert video.count(b"\xff\xda") * 4000 * 3000 > MAX_PASSES
    assert load_image(photo(4000, 3000) + video).pixels.size == (4000, 3000)


@pytest.mark.slow
def test_as_many_pixels_as_are_taken_may_come_in_as_many_scans_as_encoders_write():
    data = encoded(Image.new("RGB", (8000, 8000)), "JPEG", progressive=True)
    assert 9 < read_header(data).scans <= MAX_PASSES // MAX_PIXELS
    assert load_image(data).pixels.size == (4000, 4000)


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF", "PNG"])
def test_what_earlier_releases_stored_is_read(kind):
    assert load_stored_image(encoded(Image.new("RGB", (9, 7), "teal"), kind)).pixels.getpixel(
        (4, 4)
    ) == (0, 128, 128)


@pytest.mark.slow
def test_large_images_of_earlier_releases_keep_their_pixels_where_they_did():
    for data, size in (
        (bomb_webp(5_000, 5_000), (5_000, 5_000)),
        (slow_png(9_000, 9_000), (9_000, 9_000)),
    ):
        assert load_stored_image(data, is_halved=False).pixels.size == size
        assert load_stored_image(data).pixels.size == (size[0] // 2, size[1] // 2)
