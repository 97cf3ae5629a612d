"""Files that are no images, too large, or outside the caller's folder."""

import hashlib
import io
import os

import pytest
from PIL import Image

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2
from tests.attacks.attack import over_grpc, over_http, withstand
from tests.attacks.bystander import IMAGE
from tests.attacks.outcomes import ANSWER, UPLOAD
from tests.pictures import bomb_png, png

pytestmark = pytest.mark.slow


def encoded(kind, size=(32, 32), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, "navy").save(buffer, kind, **options)
    return buffer.getvalue()


def asking(**image):
    return student_pb2.AnswerRequest(image=types_pb2.Image(**image), question="what?")


NO_IMAGES = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"not an image at all",
    "a PNG signature alone": b"\x89PNG\r\n\x1a\n",
    "a PNG cut in half": png(size=(64, 64))[:90],
    "a JPEG cut in half": encoded("JPEG", (256, 256))[:500],
    "a WebP cut in half": encoded("WEBP", (256, 256))[:40],
    "a PNG that promises 2.5 gigapixels": bomb_png(),
    "a PNG one pixel high and 2 billion wide": bomb_png(2**31 - 1, 1),
    "a PNG of no width": bomb_png(0, 10),
    "an SVG that names a file": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "a PostScript program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "a PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "an icon": encoded("ICO"),
    "24 MiB and a byte": bytes(24 * 2**20 + 1),
}
REFERENCES = {
    "no image": {},
    "a path with NUL": {"uri": "a\0b"},
    "a path upwards": {"uri": "../../../../etc/passwd"},
    "a path upwards as a URL": {"uri": "file://../../../etc/passwd"},
    "an absolute path": {"uri": "/etc/passwd"},
    "a path of 100,000 characters": {"uri": "a/" * 50_000},
    "a path of one name of 4,000 characters": {"uri": "a" * 4_000},
    "an address on the network": {"uri": "http://127.0.0.1:9/image.png"},
    "the root itself": {"uri": "."},
    "an empty path": {"uri": ""},
    "a pipe that nobody writes": {"uri": "pipe"},
    "a link out of the root": {"uri": "link"},
    "a device": {"uri": "device"},
    "a hash that is none": {"sha256": "x"},
    "an empty hash": {"sha256": ""},
    "a hash of a megabyte": {"sha256": "a" * 10**6},
    "a hash with NUL and a path": {"sha256": "\0../../x"},
    "a hash in capitals": {"sha256": hashlib.sha256(IMAGE).hexdigest().upper()},
}
REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND")


@pytest.fixture
def root(image_root):
    """Paths below the image root that are no images."""
    if not (image_root / "pipe").exists():
        os.mkfifo(image_root / "pipe")
        (image_root / "link").symlink_to("/etc/passwd")
        (image_root / "device").symlink_to("/dev/zero")
    return image_root


@pytest.mark.parametrize(
    "attack",
    [
        attack
        for name, data in NO_IMAGES.items()
        for attack in (
            over_grpc(name, ANSWER, asking(data=data)),
            over_http(
                name, files={"image": data}, data={"question": "what?"}, expected=("400", "413")
            ),
        )
    ],
    ids=str,
)
async def test_what_is_no_image_is_refused(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize(
    "attack",
    [
        over_grpc(name, ANSWER, asking(**image), expected=REFUSED)
        for name, image in REFERENCES.items()
    ],
    ids=str,
)
async def test_what_names_no_image_is_refused(student, root, attack):
    await withstand(student, attack)


@pytest.mark.parametrize(
    "attack",
    [
        over_grpc(
            f"upload of {name}", UPLOAD, training_pb2.UploadDatasetRequest(image=NO_IMAGES[name])
        )
        for name in ("empty", "text", "a PNG cut in half", "a PNG that promises 2.5 gigapixels")
    ],
    ids=str,
)
async def test_what_is_no_image_is_not_trained_on(student, attack):
    await withstand(student, attack)
