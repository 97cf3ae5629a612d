"""Captions by image, from TextCaps or COCO. Each record of TextCaps has all captions of its image.

TextCaps_0.1_val.json   {"data": [{"image_id", "caption_str", "reference_strs": [five texts]}]}
captions_val2014.json   {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from services.core.tasks import TASKS
from services.orchestrator.datasets.fields import Fields, document
from services.orchestrator.datasets.record import LabelledRecord


def textcaps_rows(path: Path) -> Iterator[Fields]:
    """Records of a file, the first of each image."""
    seen: set[str] = set()
    for fields in document(path).objects("data"):
        image = fields.name("image_id")
        if image not in seen:
            seen.add(image)
            yield fields


def textcaps_record(fields: Fields) -> LabelledRecord:
    image = fields.name("image_id")
    has_all = fields.values.get("reference_strs") is not None
    captions = fields.texts("reference_strs" if has_all else "caption_str")
    return _record(image, f"{image}.jpg", captions, fields.get("set_name"))


def coco_rows(path: Path) -> Iterator[Fields]:
    whole = document(path)
    captions: dict[str, list[str]] = defaultdict(list)
    for fields in whole.objects("annotations"):
        captions[fields.name("image_id")].append(fields.text("caption"))
    for fields in whole.objects("images"):
        yield fields.with_values(captions=captions.get(fields.name("id")))


def coco_record(fields: Fields) -> LabelledRecord:
    return _record(fields.name("id"), fields.text("file_name"), fields.texts("captions"), "")


def _record(name: str, image: str, captions: tuple[str, ...], split: str) -> LabelledRecord:
    return LabelledRecord(name, image, TASKS["captioning"].question, captions, "caption", split)
