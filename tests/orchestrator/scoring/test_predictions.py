"""Predictions of other programs: scored, and refused if they are wrong."""

import json

import pytest

from services.core.errors import InvalidInput
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.scoring.evaluation import take
from tests.orchestrator.datasets import samples
from tests.orchestrator.scoring.planning import planned


def given(path, *rows):
    return samples.write(path, "".join(json.dumps(row) + "\n" for row in rows))


def test_predictions_of_others_are_scored(tmp_path):
    dataset = open_dataset(samples.jsonl(tmp_path, 3))
    answers = given(
        tmp_path / "theirs.jsonl", {"id": 1, "prediction": "red"}, {"id": "2", "prediction": ""}
    )
    evaluation, found = take(
        planned([dataset], asked="theirs"), [dataset], answers, tmp_path / "out"
    )
    assert (evaluation.respondent, found.questions, found.failed) == ("theirs", 3, 1)
    assert found.official == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"id": 9, "prediction": "red"}], "line 1: \"id\" is '9', and no question has that id"),
        ([{"id": 1, "prediction": "red"}] * 2, "line 2: .* more than once"),
        ([{"id": 1, "prediction": float("nan")}], '"prediction" is NaN'),
        ([{"id": 1}], '"prediction" is missing'),
        ([{"id": 1, "dataset": "other", "prediction": "red"}], "no question has that id"),
        ([3], "line 1: no object"),
    ],
)
def test_wrong_predictions_are_told_by_line(tmp_path, rows, complaint):
    dataset = open_dataset(samples.jsonl(tmp_path))
    with pytest.raises(InvalidInput, match=complaint):
        take(planned([dataset]), [dataset], given(tmp_path / "x.jsonl", *rows), tmp_path / "out")


def test_an_id_of_two_sets_has_to_say_which(tmp_path):
    datasets = [open_dataset(path) for path in samples.chartqa(tmp_path)]
    row = {"id": "0", "prediction": "14"}
    with pytest.raises(InvalidInput, match="is in several data sets"):
        take(
            planned(datasets, "chartqa"),
            datasets,
            given(tmp_path / "x.jsonl", row),
            tmp_path / "out",
        )
    clear = {**row, "dataset": "test_human"}
    _, found = take(
        planned(datasets, "chartqa"),
        datasets,
        given(tmp_path / "y.jsonl", clear),
        tmp_path / "other",
    )
    assert found.official == pytest.approx(1 / 3)


def test_yes_no_questions_say_what_constant_answers_score(tmp_path):
    samples.images(tmp_path / "images", "x.jpg")
    rows = [
        {"image": "x.jpg", "question": f"is {n} so?", "answer": "yes" if n < 3 else "no"}
        for n in range(4)
    ]
    dataset = open_dataset(samples.write(tmp_path / "list.json", rows))
    answers = [
        {"id": 0, "prediction": "Yes."},
        {"id": 1, "prediction": "maybe"},
        {"id": 2, "prediction": "no"},
    ]
    _, found = take(
        planned([dataset], "pathvqa"),
        [dataset],
        given(tmp_path / "x.jsonl", *answers),
        tmp_path / "out",
    )
    assert found.official == 0.25
    assert found.beside == {"unknown": 0.5, "always yes": 0.75, "always no": 0.25}


def test_captions_are_scored_by_all_three_metrics(tmp_path):
    dataset = open_dataset(samples.textcaps(tmp_path))
    answers = [{"id": "c1", "prediction": "A red sign."}, {"id": "c2", "prediction": "a dog"}]
    _, found = take(
        planned([dataset], "captioning"),
        [dataset],
        given(tmp_path / "x.jsonl", *answers),
        tmp_path / "out",
    )
    assert found.metric == "cider"
    assert set(found.beside) == {"bleu1", "rouge_l"}
    assert found.official > 0
    assert found.tokenizer.startswith(("PTB", "Treebank"))
