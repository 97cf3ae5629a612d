"""Images are encoded again; a missing or strange one has a placeholder."""

import io

import pytest
from PIL import Image

from services.engines.images import sha256
from tests.orchestrator.ui.exhibits import make_run, serving
from tests.pictures import numbered_png

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
