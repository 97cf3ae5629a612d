from services.core.intervals import Interval
from services.orchestrator.scoring.conditions import Conditions, EvaluatedDataset, ScoredEvaluation
from services.orchestrator.scoring.figures import ScoredPart, ScoreFigures
from services.orchestrator.scoring.report import lines, table


def test_the_official_figure_comes_first_and_the_largest_kinds_are_shown():
    sources = (EvaluatedDataset("val", "val.json", "0" * 64, ""),)
    evaluation = ScoredEvaluation(
        "student",
        Conditions("vqa", "vqa_accuracy", "{question}", 32, 0, sources),
        "student v2",
        "a" * 64,
    )
    kinds = {f"kind {n:02}": ScoredPart(n, 0.5, 0.25) for n in range(1, 31)}
    found = ScoreFigures(
        "vqa_accuracy", 465, 100, 3, 0.5, Interval(0.5, 0.45, 0.551), 0.25, kinds=kinds
    )
    said = lines(evaluation, found)
    assert said[0] == "# student v2 on val"
    assert said[2] == "- vqa_accuracy **50.0** (95 %: 45.0 to 55.1), authors' containment 25.0"
    assert "- 3 have no answer and count as wrong" in said
    shown = [line for line in said if line.startswith("| kind ") and line[7].isdigit()]
    assert [line[2:9] for line in shown] == [f"kind {n:02}" for n in range(16, 31)]


def test_a_table_survives_what_models_write():
    assert table(("said",), [("a|b",), ("two\nlines",)]) == [
        "| said      |",
        "| --------- |",
        "| a\\|b      |",
        "| two lines |",
    ]
