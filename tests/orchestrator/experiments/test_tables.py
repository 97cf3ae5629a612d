"""Tables and figures of invented results."""

import json
import re
from dataclasses import replace
from typing import Any

import pyarrow.parquet
import pytest
from PIL import Image

from services.core.arms import parse_arm
from services.core.presets import PRESETS
from services.core.recipes import RECIPES
from services.core.tasks import TASKS
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.experiments import paper, results
from services.orchestrator.experiments.comparisons import ScoreChange
from services.orchestrator.experiments.experiment import Experiment, LabelledSet, Layout, TaskEntry
from services.orchestrator.experiments.figures import draw
from services.orchestrator.experiments.latex import escape, latex
from services.orchestrator.experiments.report import markdown
from services.orchestrator.experiments.results import Row
from services.orchestrator.experiments.tables import tables, title_of

LAYOUT = Layout("table1", "Table 1", ("student", "arm"), ("teacher", "on"), paper="1", gains=True)


def experiment(
    tmp_path, layout=LAYOUT, arms=("zero-shot", "paper"), tests=("textvqa", "stvqa")
) -> Experiment:
    (tmp_path / "test.jsonl").write_text('{"image": "a.png", "question": "q?", "answers": ["a"]}\n')
    labelled = LabelledSet((open_dataset(tmp_path / "test.jsonl"),))
    entries = {
        name: TaskEntry(name, TASKS[name], "pool", test=labelled, test_on=(name,)) for name in tests
    }
    students, teachers = ("smolvlm-500m", "qwen2vl-2b"), ("qwen2vl-7b", "internvl2-8b")
    return Experiment(
        "mine",
        "Mine",
        students,
        teachers,
        tuple(map(parse_arm, arms)),
        (0, 1),
        entries,
        RECIPES["paper"],
        (layout,),
    )


def row(arm, student="", teacher="", task="", on="textvqa", **values) -> Row:
    return Row(
        arm,
        student,
        teacher,
        task,
        on,
        "vqa_accuracy",
        **{"seeds": 2, "questions": 100, "contains": 0.6, **values},
    )


UNTRAINED = row("zero-shot", "qwen2vl-2b", mean=0.5, parameters=2_000_000_000, latency_s=0.02)
TRAINED = row(
    "paper",
    "qwen2vl-2b",
    "qwen2vl-7b",
    "textvqa",
    mean=0.55,
    sd=0.01,
    samples=1234,
    latency_s=0.02,
    change=ScoreChange(0.05, 0.02, 0.08, 9, 4, 0.01),
)


def test_table_1_is_laid_out_as_the_papers(tmp_path):
    official, contains, papers = tables(experiment(tmp_path), LAYOUT, [UNTRAINED, TRAINED])
    heads = [
        ("S-VLM",),
        ("Method",),
        *((t, on) for t in ("qwen2vl-7b", "internvl2-8b") for on in ("textvqa", "stvqa")),
    ]
    assert official.heads == (*heads, ("gain", "max"), ("gain", "mean"))
    assert official.rows == (
        ("qwen2vl-2b", "ZS", "50.0", "", "50.0", "", "", ""),
        ("qwen2vl-2b", "MPA", "55.0 ± 1.0* (+5.0)", "", "", "", "+5.0", "+5.0"),
    )
    assert "2 seeds" in " ".join(official.notes)
    assert contains.rows[0][:4] == ("qwen2vl-2b", "ZS", "60.0 [70.6]", "")
    assert contains.rows[1] == ("qwen2vl-2b", "MPA", "60.0 [75.1]", "", "", "")
    assert papers.rows[0] == (
        "smolvlm-500m",
        "ZS",
        "55.3",
        "78.5",
        "56.5",
        "38.2",
        "55.3",
        "78.5",
        "56.5",
        "38.2",
    )
    assert len(papers.rows) == 10


def test_the_teacher_has_one_row_the_last(tmp_path):
    rows = [UNTRAINED, TRAINED, row("teacher", teacher="qwen2vl-7b", mean=0.7, seeds=1)]
    official = tables(experiment(tmp_path, arms=("zero-shot", "teacher", "paper")), LAYOUT, rows)[0]
    assert [found[:3] for found in official.rows if found[1] == "teacher"] == [
        ("", "teacher", "70.0")
    ]


def test_the_papers_own_average_gain_comes_out_of_its_figures():
    """Table 1 is copied correctly: 3.4 % average gain, 15.2 % maximum (Section 4.1)."""
    of_key = {(f.student, f.teacher, f.on, f.arm): f.score for f in paper.of_table("1")}
    gains = [
        score - of_key[student, teacher, on, "zero-shot"]
        for (student, teacher, on, arm), score in of_key.items()
        if arm == "paper"
    ]
    assert len(gains) == 40
    assert max(gains) == pytest.approx(15.2)
    assert sum(gains) / 40 == pytest.approx(3.4, abs=0.05)


def test_every_arm_and_model_of_the_papers_figures_exists():
    for figure in paper.figures():
        assert {figure.student, figure.teacher} - {""} <= set(PRESETS)
        assert {figure.task, figure.on} - {""} <= set(TASKS)
        assert parse_arm(figure.arm).name == figure.arm


def test_table_6_shows_the_samples(tmp_path):
    layout = Layout("table6", "Table 6", ("arm",), ("on",), paper="6", samples=True)
    official, _, papers = tables(experiment(tmp_path, layout), layout, [UNTRAINED, TRAINED])
    assert official.heads[1:3] == (("textvqa", "samples"), ("textvqa", "score"))
    assert official.rows[1][:3] == ("MPA", "1,234", "55.0 ± 1.0* (+5.0)")
    assert papers.rows[0][:3] == ("human labels", "35,000", "72.7")


def test_a_table_shows_steps_and_the_draw(tmp_path):
    layout = Layout("t", "T", ("arm",), ("on",), samples=True, steps=True)
    arms = ("zero-shot", "paper", "filtered+emphasis-2+epochs-4")
    asked = experiment(tmp_path, layout, arms, ("textvqa",))
    entries = {name: replace(entry, draw="dev") for name, entry in asked.entries.items()}
    tuned = replace(TRAINED, arm=arms[2], steps=312.0)
    official, _ = tables(replace(asked, entries=entries), layout, [UNTRAINED, TRAINED, tuned])
    assert [head[-1] for head in official.heads[1:]] == ["samples", "steps", "score"]
    assert official.rows == (
        ("ZS", "", "", "50.0"),
        ("MPA", "1,234", "", "55.0 ± 1.0* (+5.0)"),
        ("PI as a filter, emphasis 2, epochs 4", "1,234", "312", "55.0 ± 1.0* (+5.0)"),
    )
    assert "Measured on the dev draw" in " ".join(official.notes)


def test_table_3_has_a_row_for_each_metric_and_trains_on_another_task(tmp_path):
    layout = Layout("table3", "Table 3", ("on",), ("arm",), paper="3/10", metrics=True)
    captions: dict[str, Any] = {
        "mean": 0.381,
        "beside": {"bleu1": 0.153},
        "change": ScoreChange(0.294, 0.1, 0.5),
    }
    rows = [
        Row(
            "zero-shot",
            "qwen2vl-2b",
            "",
            "",
            "captioning",
            "cider",
            1,
            10,
            mean=0.087,
            beside={"bleu1": 0.079},
        ),
        Row(
            "paper", "qwen2vl-2b", "qwen2vl-7b", "textvqa", "captioning", "cider", 1, 10, **captions
        ),
    ]
    official, papers = tables(experiment(tmp_path, layout, tests=("captioning",)), layout, rows)
    assert official.heads == (("measured on",), ("metric",), ("ZS",), ("MPA",))
    assert official.rows == (
        ("captioning", "cider", "8.7", "38.1* (+29.4)"),
        ("captioning", "bleu1", "7.9", "15.3"),
    )
    assert ("captioning", "rouge_l", "17.4", "20.6", "18.3") in papers.rows


@pytest.mark.parametrize(
    ("change", "is_significant"),
    [
        (ScoreChange(0.05, 0.02, 0.08, 9, 4, 0.01), True),
        (ScoreChange(-0.05, -0.08, -0.02, 4, 9, 0.01), True),
        (ScoreChange(0.05, 0.02, 0.08, 9, 4, 0.2), False),
        (ScoreChange(0.05, 0.02, 0.08), True),
        (ScoreChange(0.05, -0.01, 0.08), False),
        (ScoreChange(), False),
    ],
)
def test_what_is_marked(change, is_significant):
    assert change.is_significant == is_significant


def test_markdown_and_latex_say_the_same(tmp_path):
    official = tables(experiment(tmp_path), LAYOUT, [UNTRAINED, TRAINED])[0]
    said = "\n".join(markdown(official))
    assert "| S-VLM      | Method | qwen2vl-7b textvqa |" in said
    assert "| qwen2vl-2b | MPA    | 55.0 ± 1.0* (+5.0) |" in said
    made = latex(official)
    assert (
        r"\multicolumn{2}{c}{qwen2vl-7b} & \multicolumn{2}{c}{internvl2-8b} & "
        r"\multicolumn{2}{c}{gain} \\" in made
    )
    assert r" & MPA & 55.0 $\pm$ 1.0$^{*}$ (+5.0) &  &  &  & +5.0 & +5.0 \\" in made
    assert made.count(r"\begin{tabular}{llrrrrrr}") == 1
    columns = {
        line.count("&") + sum(int(n) - 1 for n in re.findall(r"multicolumn\{(\d)", line))
        for line in made.splitlines()
        if "&" in line
    }
    assert columns == {7}
    assert escape("50 % of a_b & {c}") == r"50 \% of a\_b \& \{c\}"


@pytest.mark.parametrize(
    ("arm", "title"),
    [
        ("paper", "MPA"),
        ("rehearsal", "MPA with rehearsal"),
        ("rehearsal-0.5", "MPA with rehearsal 0.5:1"),
        ("random-rehearsal-2", "random, as many as MPA with rehearsal 2:1"),
        ("labels-100-lora", "LoRA SFT, 100 labels"),
        ("labels-50", "labels-50"),
    ],
)
def test_titles_of_arms(arm, title):
    assert title_of(arm) == title


def test_an_arm_that_could_not_be_trained_says_why(tmp_path):
    at_parity = row(
        "paper",
        "qwen2vl-2b",
        "qwen2vl-7b",
        "textvqa",
        seeds=0,
        contains=None,
        reason="the gap has 3 samples",
    )
    official = tables(experiment(tmp_path), LAYOUT, [UNTRAINED, at_parity])[0]
    assert official.rows[1][2] == "- (the gap has 3 samples)"


def test_rows_as_json_and_as_parquet_are_the_same(tmp_path):
    results.write([UNTRAINED, TRAINED], [], tmp_path, "mine")
    written = json.loads((tmp_path / "mine.json").read_text())
    read = pyarrow.parquet.read_table(tmp_path / "mine.parquet").to_pylist()
    assert [
        {**one, **{key: json.loads(one[key]) for key in ("beside", "kinds")}} for one in read
    ] == written
    assert written[1]["p"] == 0.01


def test_figures_are_drawn_of_what_there_is(tmp_path):
    half = replace(TRAINED, arm="paper@0.5", samples=617, mean=0.53)
    drawn = draw(
        experiment(tmp_path, arms=("zero-shot", "paper", "paper@0.5")),
        [UNTRAINED, TRAINED, half],
        tmp_path,
    )
    assert [path.name for path in drawn] == ["mine-latency.png", "mine-gains.png", "mine-curve.png"]
    for path in drawn:
        with Image.open(path) as image:
            assert min(image.size) > 400
            colors = image.convert("RGB").getcolors(1 << 24)
            assert colors is not None
            assert len(colors) > 10
    one, four = (
        replace(TRAINED, arm=f"paper+epochs-{epochs}", steps=80.0 * epochs) for epochs in (1, 4)
    )
    longer = draw(experiment(tmp_path), [UNTRAINED, one, four, replace(half, steps=40.0)], tmp_path)
    assert longer[-1].name == "mine-steps.png"
    svg = (tmp_path / "mine-curve.svg").read_text()
    assert "<svg" in svg
    assert draw(experiment(tmp_path), [UNTRAINED], tmp_path)[0].name == "mine-latency.png"
    assert draw(experiment(tmp_path), [], tmp_path) == []
