"""One question of a labelled data set, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass

from services.engines.images import sha256


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A question. `id` is unique in its data set.

    `image`: a file below the image folder, or "" if `data` is the image. `answers`: the references.
    `kind`: the type of the question. `split`: a part of the data set, such as "human", or "".
    """

    id: str
    image: str
    question: str
    answers: tuple[str, ...]
    kind: str
    split: str = ""
    data: bytes = b""

    @property
    def image_name(self) -> str:
        """Name of the image, the same for all questions about it: its file, or its sha256."""
        return self.image or sha256(self.data)
