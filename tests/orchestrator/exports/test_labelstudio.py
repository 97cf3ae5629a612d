"""Label Studio's tasks and configuration; what its reviewers decided becomes corrections."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from services.core.errors import InvalidInput
from services.orchestrator.exports.labelstudio import LOCAL_FILES
from services.orchestrator.exports.reviewed_tasks import TaskVerdict, corrections_of
from tests.orchestrator.run.runs import said


def tasks_of(folder):
    return json.loads((folder / "tasks.json").read_text())


def test_tasks_show_image_question_and_all_answers(export, records):
    folder = export("labelstudio", "--all")
    tasks = tasks_of(folder)
    usable = [row for row in records if row["question"] and not row["rejection"]]
    assert len(tasks) == len(usable)
    named = {(row["image_sha256"], row["number"]): row for row in usable}
    for task in tasks:
        data = task["data"]
        row = named[data["image_sha256"], data["number"]]
        assert (data["question"], data["answer"]) == (row["question"], row["answer"])
        assert data["cell"] == row["cell"]
        with Image.open(folder / data["image"].removeprefix(LOCAL_FILES)):
            pass
        answers = [row["answer"], row["student_answer"], row["teacher_answer"]]
        assert [each["result"][0]["value"]["text"] for each in task["predictions"]] == [
            [answer] for answer in answers if answer is not None
        ]


def test_predictions_are_of_controls_and_data_of_the_configuration(export):
    folder = export("labelstudio")
    config = ElementTree.parse(folder / "config.xml").getroot()
    controls = {tag.get("name"): tag for tag in config if tag.get("toName")}
    shown = {tag.get("name") for tag in config if not tag.get("toName")}
    used = {tag.get("value", "").removeprefix("$") for tag in config if "$" in tag.get("value", "")}
    for task in tasks_of(folder):
        assert used <= set(task["data"])
        for prediction in task["predictions"]:
            (result,) = prediction["result"]
            assert controls[result["from_name"]].tag.lower() == result["type"]
            assert result["to_name"] in shown


def reviewed(task, verdict, answer=None, question=None, **fields):
    """The task as Label Studio exports it, after a review."""
    left = {"verdict": {"choices": [verdict]}}
    left |= {"new_answer": {"text": [answer]}} if answer is not None else {}
    left |= {"new_question": {"text": [question]}} if question is not None else {}
    result = [{"from_name": name, "to_name": "image", "value": left[name]} for name in left]
    review = {"result": result, "was_cancelled": False, "completed_by": 7, **fields}
    return {**task, "id": 1, "annotations": [*task.get("annotations", ()), review]}


@pytest.fixture
def task(export):
    return tasks_of(export("labelstudio"))[0]


@pytest.mark.parametrize(
    ("verdict", "answer", "question", "judged"),
    [
        ("accept", None, None, TaskVerdict.ACCEPT),
        ("accept", "", " ", TaskVerdict.ACCEPT),
        ("accept", "seven", None, TaskVerdict.CORRECT),
        ("accept", None, "What else?", TaskVerdict.CORRECT),
        ("reject", "seven", None, TaskVerdict.REJECT),
    ],
)
def test_a_review_is_a_correction(task, verdict, answer, question, judged):
    (found,) = corrections_of([reviewed(task, verdict, answer, question)])
    before = task["data"]
    assert found.verdict == judged
    assert (found.image_sha256, found.number) == (before["image_sha256"], before["number"])
    assert found.answer == (answer or "").strip() or before["answer"]
    assert found.question == ((question or "").strip() or before["question"])
    assert (found.question_before, found.answer_before) == (before["question"], before["answer"])


def test_each_reviewer_counts_and_skipped_tasks_do_not(task):
    two = reviewed(task, "accept", completed_by={"id": 1, "email": "a@b.c"}, updated_at="today")
    two = reviewed(two, "reject", completed_by=2)
    skipped = reviewed(task, "accept", was_cancelled=True)
    untouched = {**task, "annotations": [{"result": [], "was_cancelled": False}]}
    found = corrections_of([two, skipped, untouched, task])
    assert [(each.verdict, each.reviewer, each.at) for each in found] == [
        (TaskVerdict.ACCEPT, "a@b.c", "today"),
        (TaskVerdict.REJECT, "2", ""),
    ]


@pytest.mark.parametrize(
    ("export", "complaint"),
    [
        ({}, "no list of tasks"),
        ([7], r"the export\[0\] is a number"),
        ([{"annotations": [{"result": [{"from_name": "verdict"}]}]}], '"data" is missing'),
        ([reviewed({"data": {"image": "a.png"}}, "accept")], '"question" is missing'),
    ],
)
def test_a_foreign_export_is_refused(export, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        corrections_of(export)


def test_the_command_writes_a_line_for_each_correction(task, tmp_path):
    given, output = tmp_path / "export.json", tmp_path / "corrections.jsonl"
    given.write_text(json.dumps([reviewed(task, "accept", "seven \u202e<b>")]))
    told = said("runs", "corrections", given, "--output", output)
    assert "1 reviews in" in told
    assert "1 correct" in told
    (line,) = map(json.loads, Path(output).read_text().splitlines())
    assert line["answer"] == "seven \u202e<b>"
    assert line["verdict"] == "correct"


def test_half_a_character_is_written_as_a_question_mark(task, tmp_path):
    given, output = tmp_path / "export.json", tmp_path / "corrections.jsonl"
    given.write_text(json.dumps([reviewed(task, "accept", "seven \ud83d")]))
    said("runs", "corrections", given, "--output", output)
    assert json.loads(output.read_text())["answer"] == "seven ?"
