import json
import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.core.errors import InvalidInput, NotFound
from services.core.tasks import TASKS
from services.orchestrator.datasets.dataset import open_dataset, task_of
from services.orchestrator.datasets.formats import FORMATS
from services.orchestrator.datasets.record import LabelledRecord
from tests.orchestrator.datasets import samples
from tests.pictures import numbered_png


def read(path, **options):
    dataset = open_dataset(path, **options)
    return dataset, list(dataset.read())


def test_textvqa(tmp_path):
    dataset, (first, second) = read(samples.textvqa(tmp_path))
    assert dataset.format.name == "textvqa"
    assert first == LabelledRecord(
        "34602", "0a1.jpg", "What does the sign say?", tuple(samples.TEN), "what does", "val"
    )
    assert second.kind == "yes/no"
    assert dataset.images.find(first.image) == tmp_path / "train_images/0a1.jpg"


def test_stvqa_keeps_a_part_of_its_training_images_for_testing(tmp_path):
    dataset, records = read(samples.stvqa(tmp_path, 200))
    assert dataset.format.name == "stvqa"
    assert records[0].answers == ("Sony", "sony tv")
    assert dataset.images.find(records[0].image) == tmp_path / "train_imgs" / records[0].image
    _, test = read(tmp_path / "train_task_3.json", split="test")
    assert 15 <= len(test) <= 45
    assert {record.id for record in test} == {
        record.id for record in records if record.split == "test"
    }


def test_chartqa_has_a_file_for_each_split(tmp_path):
    human, augmented = samples.chartqa(tmp_path)
    dataset, records = read(human)
    assert [(r.id, r.image, r.question, r.answers, r.split) for r in records] == [
        ("0", "1.png", "How many bars?", ("14",), "human"),
        ("1", "1.png", "Sum?", ("3",), "human"),
    ]
    assert dataset.format.name == "chartqa"
    assert dataset.images.find("1.png") == tmp_path / "test/png/1.png"
    assert read(augmented)[1][0].split == "augmented"


def test_okvqa_joins_its_pair_and_takes_the_stemmed_answer(tmp_path):
    dataset, (record,) = read(samples.okvqa(tmp_path))
    assert dataset.format.name == "okvqa"
    assert record.answers == ("race",) * 10
    assert record.kind == "Sports and Recreation"
    assert dataset.images.find(record.image).name == "COCO_val2014_000000297147.jpg"


def test_vqav2_is_told_by_its_name(tmp_path):
    samples.okvqa(tmp_path)
    for name in ("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json"):
        (tmp_path / name).rename(tmp_path / f"v2_{name}")
    assert (
        open_dataset(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json").format.name == "vqav2"
    )


def test_icdar(tmp_path):
    _, (first, second) = read(samples.icdar(tmp_path))
    assert first == LabelledRecord(
        "word_1.png", "word_1.png", TASKS["ocr"].question, ("Genaxis Theatre",), "word"
    )
    assert second.answers == ('a "quoted", word',)


def test_a_word_of_icdar_may_hold_a_line_separator(tmp_path):
    path = samples.icdar(tmp_path)
    path.write_text(
        path.read_text(encoding="utf-8").replace("Genaxis Theatre", "Gen\u2028axis\u0085"),
        encoding="utf-8",
    )
    _, (first, second) = read(path)
    assert first.answers == ("Gen\u2028axis\u0085",)
    assert second.image == "word_2.png"


def test_textcaps_has_one_record_an_image(tmp_path):
    dataset, (first, second) = read(samples.textcaps(tmp_path))
    assert (first.id, len(first.answers), first.question) == ("c1", 5, TASKS["captioning"].question)
    assert second.answers == ("a bus",) * 5
    assert dataset.images.find(first.image) == tmp_path / "train_images/c1.jpg"


def test_coco_captions(tmp_path):
    dataset, (record,) = read(samples.coco(tmp_path))
    assert (dataset.format.name, record.answers) == ("coco", ("a dog", "a small dog"))


def test_pathvqa_keeps_the_yes_no_questions(tmp_path):
    dataset, (record,) = read(samples.pathvqa(tmp_path))
    assert record == LabelledRecord(
        "1", "test_0273.jpg", "is necrosis present?", ("yes",), "yes/no"
    )
    assert dataset.images.find(record.image) == tmp_path / "images/test/test_0273.jpg"
    rows = [
        {"image": "x.jpg", "question": "is it so?", "answer": "no"},
        {"image": "x.jpg", "question": "what?", "answer": "it"},
    ]
    (plain,) = read(samples.write(tmp_path / "list.json", rows))[1]
    assert (plain.id, plain.answers) == ("0", ("no",))


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="mkdir"):
        read(samples.write(tmp_path / "test_vqa.pkl", pickle.dumps([Harm()])))
    assert not (tmp_path / "harmed").exists()


def test_vlmevalkit_holds_its_images(tmp_path):
    dataset, (first, second) = read(samples.vlmevalkit(tmp_path))
    assert (first.id, first.answers, first.split) == ("0", ("stop", "halt"), "val")
    assert first.data == second.data == numbered_png(1)
    assert second.question == "Which one?\nA. red\nB. blue"
    assert task_of(dataset, "textvqa") == "textvqa"
    with pytest.raises(InvalidInput, match="--task"):
        task_of(dataset)


def test_parquet_as_lmms_eval_reads_it(tmp_path):
    _, (first, second) = read(samples.parquet(tmp_path))
    asked = ("7", "", "What is written?", ("stop", "halt"), "what is", "human")
    assert first == LabelledRecord(*asked, data=numbered_png(1))
    assert (second.id, second.kind) == ("8", "yes/no")


def test_parquet_of_captions_has_no_questions(tmp_path):
    rows = [{"image": {"bytes": None, "path": "a.png"}, "caption_str": ["a dog", "a small dog"]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (record,) = read(tmp_path / "x.parquet")[1]
    assert (record.id, record.image, record.question) == (
        "0",
        "a.png",
        TASKS["captioning"].question,
    )
    assert record.answers == ("a dog", "a small dog")


def test_the_authors_layout(tmp_path):
    row = {
        "question_id": 1,
        "image_path": "images/a.png",
        "ground_truth_question": "",
        "ground_truth_answer": "",
    }
    annotated = {**row, "predicted_question": "What?", "predicted_answer": "it"}
    labelled = {
        **row,
        "question_id": 2,
        "ground_truth_question": "Which?",
        "ground_truth_answer": ["that", "those"],
    }
    dataset, (first, second) = read(samples.write(tmp_path / "PA_vqa.json", [annotated, labelled]))
    assert dataset.format.name == "authors"
    assert (first.image, first.question, first.answers) == ("images/a.png", "What?", ("it",))
    assert (second.question, second.answers) == ("Which?", ("that", "those"))


def test_jsonl(tmp_path):
    line = {
        "image": "a.png",
        "question": "Is it red?",
        "answers": "yes",
        "id": "q7",
        "kind": "colour",
        "split": "hard",
    }
    path = samples.write(tmp_path / "labels.jsonl", json.dumps(line))
    assert read(path)[1] == [
        LabelledRecord("q7", "a.png", "Is it red?", ("yes",), "colour", "hard")
    ]
    assert [record.id for record in read(samples.jsonl(tmp_path / "plain"))[1]] == ["1", "2"]


def test_every_task_of_a_format_exists():
    assert {found.task for found in FORMATS.values()} <= {"", *TASKS}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"answers": None}, r'TextVQA_0.5.1_val.json, data\[1\]: "answers" is null'),
        ({"answers": []}, r'data\[1\]: "answers" is empty'),
        ({"answers": ["yes", 3]}, r'"answers\[1\]" is a number, not a text'),
        ({"answers": ["yes", float("nan")]}, r'"answers\[1\]" is NaN'),
        ({"question": 7}, r'"question" is a number, not a text'),
        ({"question": " "}, r'data\[1\]: "question" is empty'),
        ({"image_id": None}, r'"image_id" is null'),
        ({"question_id": [1]}, r'"question_id" is a list, not an id'),
    ],
)
def test_a_wrong_shape_is_told_by_record_and_key(tmp_path, changes, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        read(samples.textvqa(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.json", "{", "no JSON"),
        ("x.json", "{}", "no known format"),
        ("x.json", "[1]", "no known format"),
        (
            "x.json",
            '[{"imgname": "a.png", "query": "q?", "label": "1"}, 5]',
            r"x.json\[1\] is a number, not an object",
        ),
        ("x.json", '{"annotations": []}', "name its file of questions"),
        ("x.tsv", "index\tquestion\n", "no column answer"),
        ("x.tsv", "index\timage\tquestion\tanswer\n1\t7\twhat?\tred\n", "no row has that index"),
        (
            "x.tsv",
            "index\timage_path\tquestion\tanswer\n1\ta.png\twhat?\tnan\n",
            'row 1: "answer" is NaN',
        ),
        ("x.txt", "word_1.png JOINT", "line 1: .* not of the form"),
        ("x.jsonl", '{"image": "a"}\n', 'line 1: "question" is missing'),
        ("x.jsonl", "[1]\n", "line 1: no object"),
        ("x.pkl", b"nonsense", "no pickle"),
        ("x.pkl", b"\x80\x04]r\xff\xff\xff\x03.", "keeps an object as number 67,108,863"),
        ("x.jsonl", b"\xff\xfe", "not UTF-8"),
        ("x.parquet", b"nonsense", "no Parquet file"),
    ],
)
def test_what_is_no_data_set_is_told(tmp_path, name, content, complaint):
    path = samples.write(tmp_path / name, content)
    with pytest.raises(InvalidInput, match=complaint):
        read(path)


def test_a_pair_needs_both_files_and_all_annotations(tmp_path):
    questions = samples.okvqa(tmp_path)
    (annotations,) = tmp_path.glob("*annotations.json")
    found = json.loads(annotations.read_text())
    samples.write(annotations, {**found, "annotations": []})
    with pytest.raises(
        InvalidInput, match=r'questions\[0\]: "question_id" 2971475 has no annotation'
    ):
        read(questions)
    annotations.unlink()
    with pytest.raises(NotFound, match="needs its annotations next to it"):
        read(questions)


def test_what_is_named_must_exist(tmp_path):
    with pytest.raises(NotFound, match="no data set"):
        open_dataset(tmp_path / "none.json")
    path = samples.jsonl(tmp_path)
    with pytest.raises(InvalidInput, match="no format 'coca'"):
        open_dataset(path, "coca")
    with pytest.raises(NotFound, match="no folder of images"):
        open_dataset(path, images=tmp_path / "nowhere")
