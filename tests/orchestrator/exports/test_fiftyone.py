"""FiftyOne's plain form: one sample a question, answers as classifications, cells as tags."""

import json

from PIL import Image


def test_samples_have_image_answers_and_cell(export, records):
    folder = export("fiftyone", "--all")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["media_type"] == "image"
    assert "version" not in metadata, "FiftyOne would take it for a dump of its database"
    found = json.loads((folder / "samples.json").read_text())["samples"]
    named = {(row["image_sha256"], row["number"]): row for row in records if not row["rejection"]}
    assert {(each["image_sha256"], each["number"]) for each in found} == set(named)
    for sample in found:
        row = named[sample["image_sha256"], sample["number"]]
        with Image.open(folder / sample["filepath"]):
            pass
        assert sample["question"] == row["question"]
        for field, column in (
            ("annotation", "answer"),
            ("student", "student_answer"),
            ("teacher", "teacher_answer"),
        ):
            label = {"_cls": "Classification", "label": row[column]}
            assert sample.get(field) == (label if row[column] is not None else None)
        held_out = ["held_out"] if row["held_out"] else []
        assert sample["tags"] == ([row["cell"]] if row["cell"] else []) + held_out
        assert None not in sample.values()
