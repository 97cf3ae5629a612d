"""Headers agree with Pillow, and a file is only cheap if its size bounds its cost."""

import io

import pytest
from PIL import Image

from services.engines.image_headers import PLAIN_PIXELS, is_cheap, read_header
from services.engines.images import load_image
from tests.pictures import (
    bomb_webp,
    disguised_scans_jpeg,
    encoded,
    many_scans_jpeg,
    photo,
    png,
    png_chunk,
    slow_png,
    slow_tiff,
    wordy_png,
)

GREY = Image.new("L", (40, 30), 7)
RGB = Image.new("RGB", (41, 31), "teal")


def _animated(kind):
    return encoded(RGB, kind, save_all=True, append_images=[Image.new("RGB", RGB.size, "red")])


def _with_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(RGB, "JPEG", exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        png(size=(30, 50)),
        slow_png(3000, 2000),
        encoded(RGB, "JPEG"),
        encoded(GREY, "JPEG", progressive=True),
        _with_exif(),
        photo(640, 480),
        encoded(RGB, "WEBP"),
        encoded(RGB, "WEBP", lossless=True),
        encoded(RGB.convert("RGBA"), "WEBP"),
        bomb_webp(300, 200),
        _animated("WEBP"),
    ],
)
def test_states_the_size_that_pillow_sees(data):
    header = read_header(data)
    assert (header.width, header.height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _animated("GIF"),
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF1234WEBPVP8 ",
        b"text",
        slow_tiff(9, 9),
    ],
)
def test_says_nothing_about_the_size_of_what_does_not_state_it(data):
    assert read_header(data) is None


def test_scans_are_counted_up_to_the_end_of_the_image():
    data = encoded(RGB, "JPEG", progressive=True)
    own = data.count(b"\xff\xda")
    assert read_header(data).scans == own > 5
    assert read_header(data + b"\xff\xda" * 500).scans == own
    comment = b"\xff\xfe\x00\x04\xff\xda"
    assert read_header(data[:2] + comment * 500 + data[2:]).scans == own, "a comment is none"
    assert read_header(many_scans_jpeg(500, (80, 80))).scans > 500
    assert read_header(disguised_scans_jpeg(500, (80, 80))).scans > 500
    assert read_header(disguised_scans_jpeg(9_000, (80, 80))).scans > 9_000
    assert read_header(many_scans_jpeg(9_000, (80, 80))).scans > 9_000


def test_what_libjpeg_skips_hides_no_scan():
    data = many_scans_jpeg(500, (80, 80))
    for junk in (b"junk", b"\xff" * 9):  # behind the start of image and the JFIF part
        hidden = data[:20] + junk + data[20:]
        assert Image.open(io.BytesIO(hidden)).convert("RGB").size == (80, 80)
        header = read_header(hidden)
        assert (header.width, header.height) == (80, 80)
        assert header.scans > 500


@pytest.mark.parametrize(
    "data",
    [
        png(),
        png(mode="RGBA"),
        encoded(RGB, "JPEG"),
        encoded(RGB, "JPEG", progressive=True),
        encoded(RGB, "WEBP"),
    ],
)
def test_small_and_plain_files_are_cheap(data):
    assert is_cheap(data)
    assert load_image(data).pixels.mode == "RGB"


@pytest.mark.parametrize(
    "data",
    [
        bomb_webp(PLAIN_PIXELS // 256 + 1, 256),
        slow_png(4000, 2000),
        many_scans_jpeg(21, (80, 80)),
        wordy_png(texts=1),
        png()[:33] + png_chunk(b"tEXt", b"Raw profile type exif\0" + b"0" * 5000) + png()[33:],
        _with_exif(),
        _animated("WEBP"),
        _animated("GIF"),
        encoded(RGB, "PNG", save_all=True, append_images=[Image.new("RGB", RGB.size, "red")]),
        png()[:33] + png_chunk(b"IDAT", b"") * 100 + png()[33:],
        slow_tiff(9, 9),
        encoded(Image.effect_noise((200, 200), 90), "PNG"),
    ],
    ids=[
        "pixels",
        "png",
        "scans",
        "texts",
        "profile",
        "exif",
        "webp",
        "gif",
        "apng",
        "chunks",
        "tiff",
        "bytes",
    ],
)
def test_what_may_cost_more_than_its_size_is_not_cheap(data):
    assert not is_cheap(data)
