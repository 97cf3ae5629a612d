"""Files of experiments."""

import json
import re
from pathlib import Path

import pytest

from services.core.arm_parts import PARTS
from services.core.arms import FORMS
from services.core.errors import InvalidInput, NotFound
from services.orchestrator.experiments import paper
from services.orchestrator.experiments.file import read_experiment
from services.orchestrator.experiments.plan import (
    evaluation_folder,
    lines,
    measured_on,
    pairs,
    subjects,
)
from tests.orchestrator.datasets import samples
from tests.orchestrator.experiments.conftest import FILE, write
from zoo.minivqa.families import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "experiments").rglob("*.toml"))


@pytest.fixture
def papers_data(tmp_path) -> Path:
    """Images and questions in the places of docs/reproduce.md, `make demo` and `bench-mini`."""
    samples.textvqa(tmp_path / "textvqa")
    samples.textcaps(tmp_path / "textvqa")
    train = (tmp_path / "textvqa/TextVQA_0.5.1_val.json").read_text()
    samples.write(tmp_path / "textvqa/TextVQA_0.5.1_train.json", train)
    samples.stvqa(tmp_path / "stvqa", 40)
    for part in ("test", "train"):
        human, augmented = samples.chartqa(tmp_path / "chartqa")
        for path in (human, augmented):
            samples.write(
                tmp_path / "chartqa" / part / path.name.replace("test", part), path.read_text()
            )
    samples.images(tmp_path / "chartqa/train/png", "3.png")
    samples.okvqa(tmp_path / "okvqa")
    for kind in ("OpenEnded_mscoco_{}_questions.json", "mscoco_{}_annotations.json"):
        samples.write(
            tmp_path / "okvqa" / kind.format("train2014"),
            (tmp_path / "okvqa" / kind.format("val2014")).read_text(),
        )
    samples.images(tmp_path / "okvqa/train_images", "COCO_train2014_000000000001.jpg")
    samples.icdar(tmp_path / "icdar2015")
    samples.images(tmp_path / "icdar2015/images", "word_1.png")
    samples.pathvqa(tmp_path / "pathvqa")
    samples.images(tmp_path / "pathvqa/images/train", "train_1.jpg")
    samples.images(tmp_path / "easy-vqa/pool", "0.png", "1.png")
    for name in ("test", "dev", "labels"):
        samples.write(
            tmp_path / f"easy-vqa/{name}.jsonl",
            json.dumps({"image": "pool/0.png", "question": "q?", "answers": ["a"]}),
        )
    for family in FAMILIES:
        samples.images(tmp_path / "minivqa" / family / "pool", "0.png")
        for name in ("test", "harder", "dev", "final", "labels"):
            row = {"image": "pool/0.png", "question": "q?", "answers": ["a"] * 10}
            samples.write(tmp_path / "minivqa" / family / f"{name}.jsonl", json.dumps(row))
        samples.write(tmp_path / "minivqa" / family / "anchors.txt", "what is written here?")
    return tmp_path


@pytest.mark.parametrize(
    "path", SHIPPED, ids=lambda path: path.relative_to(ROOT / "experiments").as_posix()
)
def test_every_shipped_file_can_be_run(papers_data, path):
    experiment = read_experiment(path, papers_data)
    everybody = subjects(experiment)
    assert {subject.arm.name for subject in everybody} == {arm.name for arm in experiment.arms}
    assert all(measured_on(experiment, subject) for subject in everybody)
    assert [line.done for line in lines(experiment, papers_data / "out")] == [0, 0, 0]
    assert all(layout.paper for layout in experiment.tables) or path.parent.name == "mini"


def test_the_papers_tables_are_all_there():
    printed = {figure.table for figure in paper.figures()}
    shipped = {
        path.stem.removeprefix("table") for path in SHIPPED if path.parent.name == "experiments"
    }
    assert printed == shipped | {"10"}, "Table 10 is in the file of Table 3"


@pytest.mark.parametrize(
    "path",
    [path for path in SHIPPED if path.parent.name == "experiments"],
    ids=lambda path: path.stem,
)
def test_a_shipped_file_measures_everything_that_the_papers_table_has(papers_data, path):
    experiment = read_experiment(path, papers_data)
    planned = {
        (subject.arm.name, subject.student, subject.teacher, subject.task, entry.name)
        for subject in subjects(experiment)
        for entry in measured_on(experiment, subject)
    }
    for figure in (
        figure for layout in experiment.tables for figure in paper.of_table(layout.paper)
    ):
        named = (figure.arm, figure.student, figure.teacher, figure.task, figure.on)
        assert any(
            all(ours in ("", theirs) for ours, theirs in zip(one, named, strict=True))
            for one in planned
        ), figure


def test_what_is_left_out_has_defaults(data):
    text = (
        FILE.format(arms='["zero-shot", "paper"]', seeds="[0]")
        .replace("seeds = [0]\n", "")
        .replace("latency = 5\n", "")
    )
    experiment = read_experiment(write(data, text), data)
    assert (experiment.seeds, experiment.latency, experiment.recipe.name) == (
        (0, 1, 2),
        50,
        "paper",
    )
    assert experiment.recipe.held_out == 0.0
    assert experiment.entries["vqa"].test_on == ("vqa",)
    assert len(subjects(experiment)) == 4
    assert [run.path.as_posix() for run in pairs(experiment)] == ["runs/qwen2vl-2b/qwen2vl-7b/vqa"]


def test_tasks_share_what_they_are_measured_on(data):
    text = FILE.format(arms='["paper"]', seeds="[0]").replace(
        "latency", 'test_on = ["vqa", "more"]\nlatency'
    )
    text += '[tasks.more]\ntask = "vqa"\npool = "pool"\ntest = { files = "test.jsonl" }\n'
    text += 'test_on = ["more"]\n'
    entries = read_experiment(write(data, text), data).entries
    assert {name: entry.test_on for name, entry in entries.items()} == {
        "vqa": ("vqa", "more"),
        "more": ("more",),
    }


@pytest.mark.parametrize(
    ("said", "draw", "file"),
    [("", "dev", "dev"), ('draw = "dev"', "dev", "dev"), ('draw = "test"', "test", "test")],
)
def test_a_file_is_measured_on_one_draw_and_nothing_trains_on_the_other(data, said, draw, file):
    (data / "dev.jsonl").write_text((data / "test.jsonl").read_text())
    text = f"{said}\n" + FILE.format(arms='["paper"]', seeds="[0]")
    text += 'dev = { files = "dev.jsonl" }\n'
    experiment = read_experiment(write(data, text), data)
    entry = experiment.entries["vqa"]
    assert (experiment.draw, entry.draw, entry.test_on) == (draw, draw, ("vqa",))
    assert [one.path.stem for one in entry.test.datasets] == [file]
    assert [one.datasets[0].path.stem for one in entry.unseen] == ["dev", "test"]
    (subject,) = subjects(experiment)
    folder = evaluation_folder(data, subject, entry).name
    assert folder == {"dev": "vqa@dev", "test": "vqa"}[draw]


def test_each_student_has_a_run_with_each_teacher_and_labels_need_none(data):
    text = FILE.format(arms='["labels-30", "paper", "zero-shot", "teacher"]', seeds="[0, 1]")
    text = text.replace('["qwen2vl-2b"]', '["qwen2vl-2b", "internvl2-2b"]').replace(
        '["qwen2vl-7b"]', '["qwen2vl-7b", "gpt-4o"]'
    )
    experiment = read_experiment(write(data, text), data)
    counted = {
        arm.name: sum(subject.arm == arm for subject in subjects(experiment))
        for arm in experiment.arms
    }
    assert counted == {"labels-30": 2 * 2, "paper": 2 * 2 * 2, "zero-shot": 2, "teacher": 2}
    assert len(pairs(experiment)) == 4
    found = lines(experiment, data / "out")
    assert [(line.what, line.number) for line in found] == [
        ("runs (annotate, identify)", 4),
        ("trainings", 12),
        ("evaluations", 16),
    ]
    assert "80 images, 160 annotations in all" in found[0].detail
    assert "40 questions" in found[2].detail


GRID = """
"zero-shot",
{ arm = ["filtered", "paper"], epochs = [1, 4], learning_rate = 5e-4, weight_decay = [0, 0.1] },
"filtered+epochs-8",
"""


def test_an_arm_has_a_variant_for_each_of_its_settings(data):
    (data / "dev.jsonl").write_text((data / "test.jsonl").read_text())
    text = FILE.format(arms=f"[{GRID}]", seeds="[0, 1, 2, 3, 4]")
    text += 'dev = { files = "dev.jsonl" }\n'
    experiment = read_experiment(write(data, text), data)
    assert [arm.name for arm in experiment.arms] == [
        "zero-shot",
        *(
            f"{arm}+epochs-{epochs}+rate-0.0005+decay-{decay}"
            for arm in ("filtered", "paper")
            for epochs in (1, 4)
            for decay in ("0", "0.1")
        ),
        "filtered+epochs-8",
    ]
    assert experiment.seeds == (0, 1, 2, 3, 4)
    with pytest.raises(
        InvalidInput, match=r'"arms" has variants .*refuses to choose on the test draw'
    ):
        read_experiment(write(data, 'draw = "test"\n' + text), data)
    one = text.replace("[1, 4]", "4").replace("[0, 0.1]", "0").replace('"filtered+epochs-8",', "")
    read_experiment(write(data, 'draw = "test"\n' + one), data)


def test_students_that_train_adapters_are_started_to_serve_them(data):
    text = FILE.format(arms='["labels-30-lora"]', seeds="[0]")
    experiment = read_experiment(write(data, text), data)
    assert experiment.settings == {"qwen2vl-2b": {"MAX_LORA_RANK": "16"}}
    own = "[lora]\nrank = 8\nlearning_rate = 1e-3\n[settings.qwen2vl-2b]\nMAX_LORAS = 2\n"
    experiment = read_experiment(write(data, text + own), data)
    assert experiment.settings == {"qwen2vl-2b": {"MAX_LORA_RANK": "8", "MAX_LORAS": "2"}}


def test_the_example_of_the_documents_is_one(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/reproduce.md").read_text(), re.DOTALL)
    for name in ("signs/test.jsonl", "signs/labels.jsonl", "menus/test.jsonl"):
        samples.write(
            tmp_path / name, json.dumps({"image": "a.png", "question": "q?", "answers": ["a"]})
        )
    samples.images(tmp_path / "signs/images", "a.png")
    experiment = read_experiment(write(tmp_path, block), tmp_path)
    trained = next(subject for subject in subjects(experiment) if subject.arm.name == "random")
    assert [entry.name for entry in measured_on(experiment, trained)] == ["signs", "menus"]


def test_the_documents_name_every_form_of_an_arm():
    said = (ROOT / "docs/reproduce.md").read_text()
    for form in FORMS:
        assert f"`{form}" in said, form
    for part in PARTS:
        assert f"`+{part}-" in said, part


def test_no_file_is_told_with_where_there_are_some(tmp_path):
    with pytest.raises(NotFound, match=r"experiments/ holds the experiments of the paper"):
        read_experiment(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("said", "loss"),
    [
        ("", "sample"),
        ('recipe = "rehearsal"', ""),
        ('loss = "token"', "token"),
        ('loss = "preset"', ""),
        ('recipe = "rehearsal"\nloss = "sample"', "sample"),
    ],
)
def test_the_loss_is_the_recipes_unless_the_file_names_one(data, said, loss):
    path = write(data, f"{said}\n" + FILE.format(arms='["paper"]', seeds="[0]"))
    assert read_experiment(path, data).recipe.loss == loss
