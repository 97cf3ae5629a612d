"""The images of an export as files, each once: images/ab/abcd....png, named by their sha256."""

from __future__ import annotations

import io
from pathlib import Path

from services.orchestrator.exports.samples import ExportedSample, ExportedSamples

SUFFIXES = {"jpeg": "jpg", "tiff": "tif"}


class Pictures:
    """Files of images; the samples of an image come one after another.

    `add` returns the path relative to the export's folder.
    """

    def __init__(self, samples: ExportedSamples, folder: Path) -> None:
        self._samples = samples
        self._folder = folder
        self._last = ("", "")

    def add(self, sample: ExportedSample) -> str:
        if self._last[0] != sample.image_sha256:
            data = self._samples.image(sample)
            name = f"images/{sample.image_sha256[:2]}/{sample.image_sha256}.{suffix(data)}"
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(data)
            self._last = (sample.image_sha256, name)
        return self._last[1]


def suffix(data: bytes) -> str:
    """The suffix for the format of the bytes, whatever the file was called."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        name = (image.format or "png").lower()
    return SUFFIXES.get(name, name)
