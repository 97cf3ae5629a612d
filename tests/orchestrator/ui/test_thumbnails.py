"""Images are encoded again; a missing or strange one has a placeholder."""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from services.engines.images import sha256
from services.orchestrator.run.ledger import ImageRow, Ledger
from services.orchestrator.ui.library import Library
from services.orchestrator.ui.upkeep import Upkeep
from tests.orchestrator.ui.exhibits import make_run, serving
from tests.pictures import numbered_png
from tests.waiting import until_true

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A run whose images 1 to 4 are gone, changed, no image, and a link out of the pool."""
    folder = tmp_path_factory.mktemp("thumbnails")
    pool = folder / "pool"
    make_run(folder / "runs" / "a", pool, images=8)
    (pool / "001.png").unlink()
    (pool / "002.png").write_bytes(numbered_png(99))
    (pool / "003.png").write_bytes(SVG)
    (pool / "004.png").unlink()
    (folder / "outside.png").write_bytes(numbered_png(4))
    (pool / "004.png").symlink_to(folder / "outside.png")
    with serving(folder / "runs") as client:
        yield client


def image(number):
    return sha256(numbered_png(number))


@pytest.mark.parametrize("size", ["small", "large"])
def test_an_image_is_a_jpeg_within_its_size(served, size):
    answer = served.get(f"/runs/a/images/{image(0)}/{size}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (16, 16))
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.slow
def test_a_large_image_is_not_decoded_in_the_explorer(tmp_path):
    """8000 x 7900 pixels with transparency take 0.8 GiB when they are decoded."""
    run = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=1)
    encoded = io.BytesIO()
    Image.new("LA", (8000, 7900), (9, 128)).save(encoded, "PNG", compress_level=1)
    data = encoded.getvalue()
    (tmp_path / "pool" / "large.png").write_bytes(data)
    with closing(Ledger(run / "ledger.sqlite")) as ledger:
        ledger.add_image(ImageRow("large.png", sha256(data)))
    with serving(tmp_path / "runs") as client:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        before = peak_mib()
        answer = client.get(f"/runs/a/images/{sha256(data)}/small")
        assert answer.headers["content-type"] == "image/jpeg"
    assert peak_mib() - before < 300


def peak_mib():
    status = Path("/proc/self/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s*(\d+)", status)
    return int(kib) / 1024


def test_a_source_that_is_slow_to_find_holds_up_no_other(root):
    library, found = Library(root, Upkeep()), threading.Event()
    slow: Any = SimpleNamespace(run=Asked("slow", found.wait))
    fast: Any = SimpleNamespace(run=Asked("fast", lambda: "images"))
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(library.source, slow)
        until_true(lambda: slow.run.is_asked)
        try:
            images: Any = threads.submit(library.source, fast).result(30)
            assert images == "images"
            assert not waiting.done()
        finally:
            found.set()


class Asked:
    """A run whose images are found when `find` returns."""

    def __init__(self, name, find):
        self.id, self.settings, self._find, self.is_asked = name, self, find, False
        self.images = name

    def find_images(self):
        self.is_asked = True
        return self._find()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_what_the_run_has_not_seen_is_never_passed_on(served, number):
    answer = served.get(f"/runs/a/images/{image(number)}/small")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert b"image not available" in answer.content
    assert b"script" not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "none/small",
        f"{image(0)}/huge",
        "../../../etc/passwd/small",
        "..%2f..%2fpool%2f000.png/small",
    ],
)
def test_only_images_of_the_run_have_an_address(served, path):
    answer = served.get(f"/runs/a/images/{path}")
    assert answer.status_code == 404
    assert b"root:" not in answer.content
