"""Copies of images beyond a pixel budget: upright, deterministic, and known by the original."""

import io

import pytest
from PIL import Image

from services.core.pixels import UNLIMITED, PixelBudget
from services.engines.images import load_image, sha256
from services.orchestrator.images.shrinking import as_sent, shrunk
from services.rpc.client import Picture
from tests.pictures import encoded, photo, png

BUDGET = PixelBudget(1_003_520, 28)


def opened(picture):
    return Image.open(io.BytesIO(picture.data))


@pytest.mark.parametrize("size", [(12, 12), (1, 3000), (120, 80), (1148, 840)])
def test_an_image_within_the_budget_is_sent_as_it_is(size):
    data = png(size=size)
    assert as_sent(load_image(data), BUDGET) == Picture(sha256(data), data)


def test_a_photo_becomes_the_same_small_jpeg_every_time():
    data = photo()
    picture = as_sent(load_image(data), BUDGET)
    assert picture == shrunk(Picture.of(data), BUDGET)
    assert (picture.sha256, picture.sent_sha256) == (sha256(data), sha256(picture.data))
    assert (opened(picture).format, opened(picture).size) == ("JPEG", (1148, 840))
    assert len(picture.data) < 1_000_000 < len(data)
    assert as_sent(load_image(picture.data), BUDGET).data == picture.data
    assert shrunk(Picture.of(data), UNLIMITED) == Picture.of(data)


def test_a_photo_of_50_megapixels_is_shrunk_too():
    data = encoded(Image.new("RGB", (8160, 6144), "teal"), "JPEG")
    picture = as_sent(load_image(data), BUDGET)
    assert opened(picture).size == BUDGET.fit(8160, 6144)
    assert opened(picture).getpixel((5, 5)) == pytest.approx((0, 128, 128), abs=4)


def test_the_copy_is_upright_and_has_no_metadata():
    image = Image.new("RGB", (2000, 1000), "red")
    image.paste("blue", (0, 0, 1000, 1000))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees to the right to view it
    data = encoded(image, "JPEG", exif=exif, icc_profile=b"profile", quality=95)
    picture = as_sent(load_image(data), BUDGET)
    copy = opened(picture)
    assert copy.size == BUDGET.fit(1000, 2000)
    assert not copy.getexif()
    assert "icc_profile" not in copy.info
    top, bottom = copy.getpixel((300, 10)), copy.getpixel((300, copy.height - 10))
    assert (top[2] > 200, bottom[0] > 200) == (True, True)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("I;16", "PNG"), ("L", "TIFF")],
)
def test_a_lossless_file_stays_lossless_in_the_pixels_of_load_image(mode, kind):
    image = load_image(encoded(Image.new(mode, (1500, 1000)), kind))
    picture = as_sent(image, BUDGET)
    assert opened(picture).format == "PNG"
    wanted = image.pixels.resize(BUDGET.fit(1500, 1000), Image.Resampling.BICUBIC)
    assert load_image(picture.data).pixels.tobytes() == wanted.tobytes()


@pytest.mark.slow
def test_the_student_sees_the_pixels_that_it_would_make_of_the_original():
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(min_pixels=200_704, max_pixels=1_003_520)
    image = load_image(encoded(Image.open(io.BytesIO(photo())), "PNG"))
    copy = load_image(as_sent(image, BUDGET).data)
    seen, sent = (processor(one.pixels, return_tensors="pt") for one in (image, copy))
    assert seen["image_grid_thw"].tolist() == sent["image_grid_thw"].tolist() == [[1, 60, 82]]
    difference = (seen["pixel_values"] - sent["pixel_values"]).abs().max()
    assert difference < 0.02  # one of 256 levels is 0.015
