import json

import pytest
from typer.testing import CliRunner

from services.core.errors import InvalidInput
from services.orchestrator.cli.main import app
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.reports.scoring import comparison_lines
from services.orchestrator.scoring.comparison import compare_evaluations
from services.orchestrator.scoring.conditions import plan
from services.orchestrator.scoring.evaluation import take
from tests.orchestrator.datasets import samples


def scored(folder, path, predictions, task="vqa", metric="", **options):
    """The folder of an evaluation of these predictions."""
    answers = folder.with_suffix(".jsonl")
    samples.write(
        answers,
        "".join(
            json.dumps({"id": id, "prediction": text}) + "\n" for id, text in predictions.items()
        ),
    )
    dataset = open_dataset(path)
    planned = plan(
        [dataset],
        task,
        folder.name,
        metric=metric,
        template="",
        limit=0,
        **{"pool": "", "force": False, **options},
    )
    take(planned, [dataset], answers, folder)
    return folder


def predictions(right, count):
    return {str(n + 1): "red" if n in right else f"no {n}" for n in range(count)}


def test_two_models_are_compared_question_by_question(tmp_path):
    path = samples.jsonl(tmp_path, 20)
    before = scored(tmp_path / "before", path, predictions(range(8), 20))
    after = scored(tmp_path / "after", path, predictions(range(2, 18), 20))
    found = compare_evaluations(before, after, examples=3)
    overall = found.comparison.overall
    assert (overall.before, overall.after, overall.fixed, overall.broken) == (0.4, 0.8, 10, 2)
    assert found.difference == pytest.approx(0.4)
    assert 0 < found.interval.low < 0.4 < found.interval.high < 0.8
    assert found.mcnemar_p == pytest.approx(0.0386, abs=1e-4)
    assert [changed.image for changed in found.fixed] == ["8.png", "9.png", "10.png"]
    assert [(changed.before, changed.after) for changed in found.broken] == [
        ("red", "no 0"),
        ("red", "no 1"),
    ]
    said = "\n".join(comparison_lines(found))
    assert "40.0 before, 80.0 after: **+40.0**" in said
    assert "fixed 10, broken 2, McNemar p = 0.039" in said


def test_a_model_compared_with_itself_differs_in_nothing(tmp_path):
    folder = scored(tmp_path / "it", samples.jsonl(tmp_path, 5), predictions(range(3), 5))
    found = compare_evaluations(folder, folder, examples=3)
    assert (found.difference, found.interval.low, found.interval.high, found.mcnemar_p) == (
        0.0,
        0.0,
        0.0,
        1.0,
    )
    assert found.fixed == found.broken == ()


def test_captions_are_compared_without_right_and_wrong(tmp_path):
    path = samples.textcaps(tmp_path)
    before = scored(tmp_path / "before", path, {"c1": "a dog", "c2": "a dog"}, "captioning")
    after = scored(tmp_path / "after", path, {"c1": "a dog", "c2": "a bus"}, "captioning")
    found = compare_evaluations(before, after, examples=3)
    assert found.mcnemar_p is None
    assert found.difference > 0
    assert [(changed.image, changed.after) for changed in found.fixed] == [("c2.jpg", "a bus")]
    assert "McNemar" not in "\n".join(comparison_lines(found))


def test_bleu_pairs_nothing(tmp_path):
    folder = scored(
        tmp_path / "it", samples.textcaps(tmp_path), {"c1": "a dog"}, "captioning", "bleu1"
    )
    with pytest.raises(InvalidInput, match="scores no single caption"):
        compare_evaluations(folder, folder, examples=3)


def test_other_questions_or_metrics_are_not_compared(tmp_path):
    path = samples.jsonl(tmp_path / "a", 4)
    before = scored(tmp_path / "before", path, predictions([], 4))
    other = scored(tmp_path / "other", samples.jsonl(tmp_path / "b", 5), predictions([], 5))
    with pytest.raises(InvalidInput, match=r"1 are in one only, such as 5"):
        compare_evaluations(before, other, examples=3)
    metric = scored(tmp_path / "metric", path, predictions([], 4), metric="anls")
    with pytest.raises(InvalidInput, match="metric vqa_accuracy and anls"):
        compare_evaluations(before, metric, examples=3)


def test_a_leak_is_marked_in_the_comparison_too(tmp_path):
    path = samples.jsonl(tmp_path / "eval", 2)
    pool = str(tmp_path / "eval")
    before = scored(tmp_path / "before", path, predictions([0], 2))
    after = scored(tmp_path / "after", path, predictions([0, 1], 2), pool=pool, force=True)
    assert "LEAKED: 2" in "\n".join(
        comparison_lines(compare_evaluations(before, after, examples=0))
    )


def run(*arguments):
    return CliRunner().invoke(app, ["datasets", *map(str, arguments)])


def test_the_commands(tmp_path):
    path = samples.jsonl(tmp_path, 4)
    for name, right in (("before", [0]), ("after", [0, 1, 2])):
        rows = [{"id": id, "prediction": text} for id, text in predictions(right, 4).items()]
        answers = samples.write(
            tmp_path / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
        )
        done = run(
            "evaluate", path, "--task", "vqa", "--predictions", answers, "--out", tmp_path / name
        )
        assert done.exit_code == 0, done.output
    assert "vqa_accuracy **75.0**" in done.output
    done = run("compare", tmp_path / "before", tmp_path / "after")
    assert done.exit_code == 0, done.output
    assert "**+50.0**" in done.output
    assert "| 2.png | what color is thing 2? | red       | no 2   | red   |" in done.output


def test_the_commands_refuse_what_cannot_be_meant(tmp_path):
    path = samples.jsonl(tmp_path)
    nobody = run("evaluate", path, "--task", "vqa", "--out", tmp_path / "out")
    assert (nobody.exit_code, "exactly one of" in " ".join(nobody.output.split())) == (2, True)
    both = run("evaluate", path, "--student", "a:1", "--openai", "m", "--out", tmp_path / "out")
    assert both.exit_code == 2
    prompt = run(
        "evaluate", path, "--student", "a:1", "--prompt", "hello", "--out", tmp_path / "out"
    )
    assert prompt.exit_code == 2
    no_task = run("evaluate", path, "--student", "127.0.0.1:1", "--out", tmp_path / "out")
    assert (no_task.exit_code, "--task" in no_task.output) == (1, True)
    several = run(
        "evaluate",
        samples.icdar(tmp_path / "i"),
        samples.textcaps(tmp_path / "t"),
        "--openai",
        "m",
        "--out",
        "out",
    )
    assert (several.exit_code, "several tasks" in several.output) == (1, True)
