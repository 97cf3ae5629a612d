"""Images and teacher's refusals of the stored runs."""

import fsspec

from tests.pictures import numbered_png

POOL = "memory://pool"
IMAGES = 160


def fill_pool() -> None:
    """Puts the images of both runs into the memory of this process."""
    memory = fsspec.filesystem("memory")
    for number in range(IMAGES):
        memory.pipe_file(f"/pool/{number:03}.png", numbered_png(number))
    memory.pipe_file("/pool/broken.png", b"no image")


def rejects(sha256: str, seed: int) -> str:
    """The scripted teacher fails at a sixteenth of its annotations."""
    return "no_question" if (seed + int(sha256[0], 16)) % 16 == 0 else ""
