"""The place of a data set's images: its folder, or a subfolder that its publisher uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".jpg", ".png", ".jpeg")


class ImageFolder:
    """Images by their name in the data set; the folder of the last one found is tried first."""

    def __init__(self, roots: Sequence[Path], folders: Sequence[str]) -> None:
        self._places = [root / folder for root in roots for folder in ("", *folders)]

    def find(self, name: str) -> Path | None:
        """The file of an image, also under another usual suffix; None if there is none."""
        for place in self._places:
            file = place / name
            for candidate in (file, *(file.with_suffix(suffix) for suffix in SUFFIXES)):
                if candidate.is_file():
                    self._places.remove(place)
                    self._places.insert(0, place)
                    return candidate
        return None
