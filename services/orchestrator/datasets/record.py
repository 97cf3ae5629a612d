"""One question of a labelled data set, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """`id` names it within its data set. `image` is a file below the data set's image folder, or "" where `data` is the image.

    `answers` are the references. `kind`: the type of the question; `split`: the part of the data set, such as "human", or "".
    """

    id: str
    image: str
    question: str
    answers: tuple[str, ...]
    kind: str
    split: str = ""
    data: bytes = b""
