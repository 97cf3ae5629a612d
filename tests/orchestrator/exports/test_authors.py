"""The authors' scripts on exported files: the loader's keys, and their rule of selection."""

import json
import re

from PIL import Image


def squeezed(text):
    """The authors' preprocessing."""
    return re.sub(r"\W+", "", re.sub(r"\s+", "", text.lower()))


def test_their_rule_finds_in_the_files_what_is_to_be_trained_on(export, records):
    folder = export("authors", "--cell", "gap")
    annotations, teacher, student, training = (
        json.loads((folder / f"{name}_vqa.json").read_text())
        for name in ("PA", "PI_teacher", "PI_student", "PI_train")
    )
    usable = [row for row in records if not row["rejection"] and not row["held_out"]]
    assert [(item["predicted_question"], item["predicted_answer"]) for item in annotations] == [
        (row["question"], row["answer"]) for row in usable
    ]
    assert all(Image.open(folder / item["image_path"]) for item in annotations)
    assert all(
        isinstance(item["question_id"], int) and item["ground_truth_answer"] == ""
        for item in annotations
    )
    assert len(student) == len(usable) > len(teacher)
    by_teacher = {item["question_id"]: item for item in teacher}
    chosen = [
        item["question_id"]
        for item in student
        if item["question_id"] in by_teacher
        and squeezed(item["PA_answer"]) not in squeezed(item["predictions"])
        and squeezed(item["PA_answer"]) in squeezed(by_teacher[item["question_id"]]["predictions"])
    ]
    assert chosen == [item["id"] for item in training]
    questions = {item["question_id"]: item["predicted_question"] for item in annotations}
    for item in training:
        assert item["conversations"][0]["value"] == f"<image>\n{questions[item['id']]}"
