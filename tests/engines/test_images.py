import io

import pytest
from PIL import Image

from services.core.errors import ImageUnknown, InvalidImage
from services.engines.images import MAX_BYTES, ImageCache, load_image
from tests.pictures import bomb_png, numbered_png, png


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "IMAGE_EMPTY"),
        (b"not an image at all", "IMAGE_UNREADABLE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "IMAGE_UNREADABLE"),
        (png(size=(300, 300))[:200], "IMAGE_TRUNCATED"),
        (bomb_png(), "IMAGE_TOO_MANY_PIXELS"),
        (bomb_png(12_000, 9_000), "IMAGE_TOO_MANY_PIXELS"),
        (b"\x89PNG" + b"\0" * MAX_BYTES, "IMAGE_TOO_LARGE"),
    ],
)
def test_refuses_with_a_reason(data, reason):
    with pytest.raises(InvalidImage) as refused:
        load_image(data)
    assert refused.value.reason == reason


def _encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        (_encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (254, 0, 0)),
        (_encoded(Image.new("I;16", (8, 8), 65535), "PNG"), (255, 255, 255)),
        (_encoded(Image.new("I;16", (8, 8), 32768), "PNG"), (128, 128, 128)),
        (_encoded(Image.new("RGB", (8, 8), (10, 20, 30)).convert("P"), "PNG"), None),
        (_encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (_encoded(Image.new("L", (8, 8), 7), "PNG"), (7, 7, 7)),
        (
            _encoded(Image.new("P", (8, 8), 0), "GIF", save_all=True, append_images=[Image.new("P", (8, 8), 1)]),
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
        assert all(abs(a - b) <= 2 for a, b in zip(image.getpixel((4, 4)), pixel, strict=True))


def test_applies_exif_rotation():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(Image.new("RGB", (20, 10), "red"), "JPEG", exif=exif)
    assert load_image(data).pixels.size == (10, 20)


def test_cache_knows_an_image_by_its_hash_until_it_needs_the_room():
    room = [16 * 16 * 3 + len(numbered_png(number)) for number in range(3)]
    cache = ImageCache(capacity_bytes=room[1] + room[2])
    first, second, third = (cache.add(numbered_png(number)) for number in range(3))
    with pytest.raises(ImageUnknown):
        cache.get(first.sha256)
    assert cache.get(second.sha256) is second
    assert cache.get(third.sha256) is third
