"""Exports of the platform, read by its own readers of data sets."""

from services.orchestrator.datasets.dataset import open_dataset
from tests.orchestrator.exports.conftest import sha256


def taken_back(path, format_name=""):
    dataset = open_dataset(path, format_name)
    found = {}
    for record in dataset.read():
        data = record.data or dataset.images.find(record.image).read_bytes()
        found[sha256(data), record.question] = record.answers
    return found


def test_vlmevalkit(export, parity_set):
    found = taken_back(export("vlmevalkit"), "vlmevalkit")
    assert found == {key: (line["answer"],) for key, line in parity_set.items()}


def test_authors(export, records):
    found = taken_back(export("authors") / "PA_vqa.json")
    usable = [row for row in records if not row["rejection"] and not row["held_out"]]
    assert len(found) == len(usable)
    assert sorted((question, answers[0]) for (_, question), answers in found.items()) == sorted(
        (row["question"], row["answer"]) for row in usable
    )


def test_parquet_of_the_hub(export, parity_set):
    (path,) = export("hf").rglob("*.parquet")
    assert taken_back(path) == {key: (line["answer"],) for key, line in parity_set.items()}
