"""Exported data sets, loaded by `datasets`; their card by `huggingface_hub`."""

import io

from PIL import Image as Pillow

from tests.orchestrator.exports.conftest import sha256


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
