"""Exported data sets, loaded by `datasets`; their card by `huggingface_hub`."""

import io
from pathlib import Path

import yaml
from PIL import Image as Pillow

from tests.orchestrator.exports.conftest import sha256

ROOT = Path(__file__).resolve().parents[3]


def test_images_are_embedded_and_records_explained(export, records, tmp_path):
    from datasets import Image, Value, load_dataset

    data = load_dataset(
        str(export("hf", "--all")), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.features["image"] == Image()
    assert data.features["teacher_right"] == Value("bool")
    assert (
        data[0]["image"].size
        == Pillow.open(
            io.BytesIO(data.cast_column("image", Image(decode=False))[0]["image"]["bytes"])
        ).size
    )
    usable = [row for row in records if not row["rejection"]]
    found = list(data.cast_column("image", Image(decode=False)))
    assert [{name: row[name] for name in records[0]} for row in found] == usable
    assert [sha256(row["image"]["bytes"]) for row in found] == [
        row["image_sha256"] for row in usable
    ]


def test_the_task_of_lmms_eval_names_its_columns(export, tmp_path):
    from datasets import load_dataset

    task = yaml.safe_load((ROOT / "examples/lmms-eval/mine.yaml").read_text())
    data = load_dataset(str(export("hf")), cache_dir=str(tmp_path / "cache"))
    named = {task[name] for name in ("doc_to_visual", "doc_to_text", "doc_to_target")}
    assert named <= set(data[task["test_split"]].column_names)


def test_the_card_says_what_it_is(export, parity_set):
    from huggingface_hub import DatasetCard

    folder = export("hf")
    card = DatasetCard.load(folder / "README.md")
    assert card.data.task_categories == ["visual-question-answering"]
    assert card.data.to_dict()["configs"][0]["data_files"][0]["path"] == "data/*.parquet"
    assert (
        f"{len(parity_set)} questions about {len({digest for digest, _ in parity_set})} images"
        in card.text
    )
    assert "| teacher | teacher-a |" in card.text
    assert "exact@1" in card.text
