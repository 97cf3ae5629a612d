"""Where the images of a data set are: below its folder, or in the subfolder where its publisher puts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".jpg", ".png", ".jpeg")


class ImageFolder:
    """Finds images by the name that the data set gives them; the folder of the last one found is tried first."""

    def __init__(self, roots: Sequence[Path], folders: Sequence[str]) -> None:
        self._places = [root / folder for root in roots for folder in ("", *folders)]

    def find(self, name: str) -> Path | None:
        """None where there is no such file. Another usual suffix than the one named will do."""
        for place in self._places:
            file = place / name
            for candidate in (file, *(file.with_suffix(suffix) for suffix in SUFFIXES)):
                if candidate.is_file():
                    self._places.remove(place)
                    self._places.insert(0, place)
                    return candidate
        return None
