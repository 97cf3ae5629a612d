"""Images decoded in other processes: the same pixels, and a lost process loses one image."""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import psutil
import pytest
from PIL import Image

from services.core.errors import InvalidImage
from services.engines.image_decoder import ImageDecoder
from services.engines.images import load_image
from tests.e2e.processes import ROOT
from tests.pictures import (
    bomb_png,
    bomb_webp,
    encoded,
    longest_png,
    photo,
    png,
    slow_png,
    slow_tiff,
    wordy_png,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def decoder():
    return ImageDecoder(1)


def _process(decoder):
    """The decoder's only process."""
    decoder.submit(photo(640, 480)).result()
    (pid,) = decoder.pids
    return psutil.Process(pid)


def _unread_bytes(process):
    """Size of the input that a process hasn't read."""
    with Path(f"/proc/{process.pid}/fd/0").open("rb", buffering=0) as pipe:
        (size,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return size


IMAGES = {
    "png": png,
    "alpha": lambda: png(mode="RGBA", color=(9, 99, 199, 50)),
    "webp": lambda: encoded(Image.new("L", (3, 70), 9), "WEBP"),
    "palette": lambda: slow_png(300, 200),
    "texts": lambda: wordy_png(texts=1),
}
LARGE_IMAGES = {
    "photo": lambda: photo(4032, 3024),
    "halved photo": lambda: photo(6000, 4000),
    "halved png": lambda: encoded(Image.effect_noise((5000, 4000), 9), "PNG", compress_level=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", LARGE_IMAGES.values(), ids=LARGE_IMAGES)
def test_the_pixels_of_large_images_are_those_of_load_image(decoder, make):
    _require_same_pixels(decoder, make())


@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES)
def test_the_pixels_are_those_of_load_image(decoder, make):
    _require_same_pixels(decoder, make())


def _require_same_pixels(decoder, data):
    loaded = load_image(data)
    decoded = decoder.submit(data).result()
    assert decoded.pixels.size == loaded.pixels.size
    assert decoded.pixels.tobytes() == loaded.pixels.tobytes()
    assert (decoded.sha256, decoded.data) == (loaded.sha256, loaded.data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (bytes, "IMAGE_EMPTY"),
        (lambda: b"not an image at all", "IMAGE_UNREADABLE"),
        (lambda: photo(640, 480)[:9000], "IMAGE_TRUNCATED"),
        (bomb_png, "IMAGE_TOO_MANY_PIXELS"),
        (bomb_webp, "IMAGE_TOO_MANY_PIXELS"),
        (lambda: slow_tiff(50, 50), "IMAGE_UNREADABLE"),
        (wordy_png, "IMAGE_UNREADABLE"),
        pytest.param(
            lambda: bomb_webp(8000, 8000) + bytes(60_000),
            "IMAGE_TOO_EXPENSIVE",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_refusal_keeps_its_reason_and_the_process(decoder, make, reason):
    process = _process(decoder)
    with pytest.raises(InvalidImage) as refused:
        decoder.submit(make()).result()
    assert refused.value.reason == reason
    assert decoder.load(png()).pixels.size == (32, 32)
    assert _process(decoder) == process


def test_tiff_is_taken_where_it_is_asked_for(decoder):
    assert decoder.submit(slow_tiff(50, 40), takes_tiff=True).result().pixels.size == (50, 40)


def test_small_and_plain_images_need_no_process():
    decoder = ImageDecoder(1)
    assert decoder.load(png()).pixels.size == (32, 32)
    assert decoder.pids == set()


def test_a_process_killed_between_images_is_replaced():
    decoder = ImageDecoder(1)
    process = _process(decoder)
    process.kill()
    psutil.wait_procs([process], timeout=30)
    assert _process(decoder).pid != process.pid


def test_a_process_that_stands_still_is_killed_when_its_time_is_over_and_replaced():
    decoder = ImageDecoder(1)
    process = _process(decoder)
    process.suspend()
    decoder.timeout_s = 0.2
    with pytest.raises(InvalidImage) as refused:
        decoder.submit(photo(640, 480)).result(timeout=60)
    assert refused.value.reason == "IMAGE_TOO_EXPENSIVE"
    assert not psutil.pid_exists(process.pid)
    decoder.timeout_s = 60.0
    assert decoder.submit(photo(640, 480)).result().pixels.size == (640, 480)


@pytest.mark.slow
def test_an_image_that_takes_too_long_is_refused_and_others_go_on():
    decoder = ImageDecoder(2, cpu_s=0)
    slow = decoder.submit(longest_png())
    assert decoder.submit(photo(640, 480)).result().pixels.size == (640, 480)
    with pytest.raises(InvalidImage, match="s of CPU time") as refused:
        slow.result(timeout=90)
    assert refused.value.reason == "IMAGE_TOO_EXPENSIVE"
    assert decoder.submit(photo(640, 480)).result().pixels.size == (640, 480)


async def test_a_process_killed_amid_an_image_takes_that_image_alone():
    decoder = ImageDecoder(1)
    process = _process(decoder)
    process.suspend()
    lost, waiting = decoder.submit(photo(640, 480)), decoder.submit(photo(640, 481))
    await until(lambda: _unread_bytes(process))
    process.kill()
    with pytest.raises(InvalidImage, match="signal 9") as refused:
        await asyncio.wrap_future(lost)
    assert refused.value.reason == "IMAGE_TOO_EXPENSIVE"
    assert (await asyncio.wrap_future(waiting)).pixels.size == (640, 481)


LONELY = """
import time
from services.engines.image_decoder import ImageDecoder
from tests.pictures import longest_png, photo
decoder = ImageDecoder(2, cpu_s=600)
decoder.submit(longest_png())
decoder.submit(photo(640, 480)).result()
print(*decoder.pids, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them_also_amid_an_image():
    owner = subprocess.Popen(
        [sys.executable, "-c", LONELY], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    children = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    assert len(children) == 2
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive), gone
