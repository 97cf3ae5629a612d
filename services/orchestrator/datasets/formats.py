"""The published formats of data sets, recognised by the content of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.orchestrator.datasets import (
    authors,
    captions,
    chartqa,
    icdar,
    jsonl,
    okvqa,
    parquet,
    pathvqa,
    stvqa,
    textvqa,
    vlmevalkit,
)
from services.orchestrator.datasets.fields import Fields, read_json
from services.orchestrator.datasets.record import LabelledRecord


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """A format. JSON files, which hold no images, are read whole, all others row by row.

    `task`: "" if the format has none. `folders`: the usual folders of its images, below the folder
    of the file or its parent. `answers`: the number of references of each question, 0 for any.
    """

    name: str
    task: str
    rows: Callable[[Path], Iterator[Fields]]
    record: Callable[[Fields], LabelledRecord]
    folders: tuple[str, ...] = ()
    answers: int = 0


TEXTVQA_FOLDERS = ("train_images", "train_val_images/train_images", "test_images")
COCO_FOLDERS = ("val2014", "train2014", "val2017", "train2017", "images")
PATHVQA_FOLDERS = ("images/test", "images/val", "images/train", "images")

FORMATS: dict[str, DatasetFormat] = {
    found.name: found
    for found in (
        DatasetFormat(
            "textvqa", "textvqa", textvqa.rows, textvqa.record, TEXTVQA_FOLDERS, answers=10
        ),
        DatasetFormat(
            "stvqa", "stvqa", stvqa.rows, stvqa.record, ("train_imgs", "train", "Images/train")
        ),
        DatasetFormat("chartqa", "chartqa", chartqa.rows, chartqa.record, ("png",)),
        DatasetFormat("okvqa", "okvqa", okvqa.rows, okvqa.record, COCO_FOLDERS, answers=10),
        DatasetFormat("vqav2", "vqa", okvqa.rows, okvqa.record, COCO_FOLDERS, answers=10),
        DatasetFormat(
            "icdar2015", "ocr", icdar.rows, icdar.record, ("images", "ch4_test_word_images_gt")
        ),
        DatasetFormat(
            "textcaps",
            "captioning",
            captions.textcaps_rows,
            captions.textcaps_record,
            TEXTVQA_FOLDERS,
        ),
        DatasetFormat("coco", "captioning", captions.coco_rows, captions.coco_record, COCO_FOLDERS),
        DatasetFormat("pathvqa", "pathvqa", pathvqa.rows, pathvqa.record, PATHVQA_FOLDERS),
        DatasetFormat("vlmevalkit", "", vlmevalkit.rows, vlmevalkit.record, ("images",)),
        DatasetFormat("parquet", "", parquet.rows, parquet.record, ("images",)),
        DatasetFormat("authors", "", authors.rows, authors.record, ("images",)),
        DatasetFormat("jsonl", "", jsonl.rows, jsonl.record, ("images",)),
    )
}
BY_SUFFIX = {
    ".tsv": "vlmevalkit",
    ".jsonl": "jsonl",
    ".txt": "icdar2015",
    ".pkl": "pathvqa",
    ".parquet": "parquet",
}


def recognise(path: Path) -> DatasetFormat:
    """The format of a file. Raises InvalidInput that lists the formats if it has none of them."""
    name = BY_SUFFIX.get(path.suffix.lower()) or _of_json(path)
    return FORMATS[name]


def _of_json(path: Path) -> str:
    found = read_json(path)
    if isinstance(found, list):
        name = _of_list(found)
    elif isinstance(found, dict):
        name = _of_object(path, found)
    else:
        name = ""
    if not name:
        raise InvalidInput(
            f"{path} is of no known format: name one with --format ({', '.join(FORMATS)}), "
            'or make it JSONL with {"image", "question", "answers"}'
        )
    return name


def _of_list(found: list[object]) -> str:
    keys = found[0].keys() if found and isinstance(found[0], dict) else set()
    if "imgname" in keys:
        return "chartqa"
    if "image_path" in keys and {"ground_truth_answer", "predicted_answer"} & keys:
        return "authors"
    return "pathvqa" if {"image", "question", "answer"} <= keys else ""


def _of_object(path: Path, found: dict[str, object]) -> str:
    if "questions" in found:
        return "vqav2" if path.name.startswith("v2_") else "okvqa"
    if "annotations" in found and "images" in found:
        return "coco"
    if "annotations" in found:
        raise InvalidInput(
            f"{path} holds the annotations of a pair: "
            "name its file of questions, they are read together"
        )
    listed = found.get("data")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    if "caption_str" in first or "reference_strs" in first:
        return "textcaps"
    if "file_path" in first:
        return "stvqa"
    return "textvqa" if "image_id" in first else ""
