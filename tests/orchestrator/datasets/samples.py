"""Tiny data sets in the layouts of their publishers, files and images."""

import base64
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq

from tests.pictures import numbered_png

TEN = ["stop"] * 8 + ["stop sign", "halt"]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
    return path


def images(folder, *names):
    for number, name in enumerate(names):
        write(folder / name, numbered_png(number))


def textvqa(root, **changes):
    images(root / "train_images", "0a1.jpg", "0a2.jpg")
    rows = [
        {
            "question_id": 34602,
            "image_id": "0a1",
            "question": "What does the sign say?",
            "answers": TEN,
            "set_name": "val",
        },
        {
            "question_id": 34603,
            "image_id": "0a2",
            "question": "Is it a bus?",
            "answers": ["yes"] * 10,
            "set_name": "val",
        },
    ]
    rows[1].update(changes)
    return write(
        root / "TextVQA_0.5.1_val.json",
        {"dataset_type": "val", "dataset_version": "0.5.1", "data": rows},
    )


def stvqa(root, count=2):
    names = [f"coco-text/COCO_train2014_{number:012}.jpg" for number in range(count)]
    images(root / "train_imgs", *names)
    rows = [
        {
            "question_id": n,
            "file_path": name,
            "dataset": "coco-text",
            "question": "Which brand?",
            "answers": ["Sony", "sony tv"],
        }
        for n, name in enumerate(names)
    ]
    return write(root / "train_task_3.json", {"dataset_name": "ST-VQA", "data": rows})


def chartqa(root):
    images(root / "test/png", "1.png", "2.png")
    human = [
        {"imgname": "1.png", "query": "How many bars?", "label": "14"},
        {"imgname": "1.png", "query": "Sum?", "label": "3"},
    ]
    augmented = [{"imgname": "2.png", "query": "What was the value in 2014?", "label": "0.57"}]
    return write(root / "test/test_human.json", human), write(
        root / "test/test_augmented.json", augmented
    )


def okvqa(root, answers=10):
    images(root / "val2014", "COCO_val2014_000000297147.jpg")
    question = {
        "image_id": 297147,
        "question": "What sport can you use this for?",
        "question_id": 2971475,
    }
    given = [{"answer_id": n, "raw_answer": "racing", "answer": "race"} for n in range(answers)]
    annotation = {
        "image_id": 297147,
        "question_id": 2971475,
        "question_type": "four",
        "answer_type": "other",
        "answers": given,
    }
    types = {"four": "Sports and Recreation"}
    write(
        root / "mscoco_val2014_annotations.json",
        {"annotations": [annotation], "question_types": types},
    )
    return write(
        root / "OpenEnded_mscoco_val2014_questions.json",
        {"data_subtype": "val2014", "questions": [question], "task_type": "x"},
    )


def icdar(root):
    images(root, "word_1.png", "word_2.png")
    lines = '\ufeffword_1.png, "Genaxis Theatre"\r\nword_2.png, "a \\"quoted\\", word"\r\n'
    return write(root / "Challenge4_Test_Task3_GT.txt", lines)


def textcaps(root):
    images(root / "train_images", "c1.jpg", "c2.jpg")
    captions = {
        "c1": ["a red sign", "the sign says stop", "stop sign", "a sign", "red"],
        "c2": ["a bus"] * 5,
    }
    rows = [
        {
            "image_id": image,
            "caption_id": f"{image}-{n}",
            "caption_str": text,
            "reference_strs": texts,
            "set_name": "val",
        }
        for image, texts in captions.items()
        for n, text in enumerate(texts)
    ]
    return write(root / "TextCaps_0.1_val.json", {"dataset_name": "textcaps", "data": rows})


def coco(root):
    images(root / "val2014", "COCO_val2014_000000000042.jpg")
    listed = [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}]
    captions = [
        {"id": n, "image_id": 42, "caption": text}
        for n, text in enumerate(["a dog", "a small dog"])
    ]
    return write(root / "captions_val2014.json", {"images": listed, "annotations": captions})


def pathvqa(root):
    images(root / "images/test", "test_0273.jpg")
    rows = [
        {
            "question_id": 1,
            "img_id": "test_0273",
            "sent": "is necrosis present?",
            "label": {"yes": 1},
            "answer_type": "yes/no",
        },
        {
            "question_id": 2,
            "img_id": "test_0273",
            "sent": "where is it?",
            "label": {"in the liver": 1},
            "answer_type": "other",
        },
    ]
    return write(root / "qas/test_vqa.pkl", pickle.dumps(rows))


def vlmevalkit(root):
    image = base64.b64encode(numbered_png(1)).decode()
    lines = [
        "index\timage\tquestion\tanswer\tsplit\tA\tB",
        f"0\t{image}\tWhat is written?\t\"['stop', 'halt']\"\tval\t\t",
        "1\t0\tWhich one?\tA\tval\tred\tblue",
    ]
    return write(root / "Bench_VAL.tsv", "\n".join(lines) + "\n")


def parquet(root):
    image = {"bytes": numbered_png(1), "path": "a.png"}
    rows = [
        {
            "image": image,
            "question": "What is written?",
            "answers": ["stop", "halt"],
            "question_id": 7,
            "type": "human",
        },
        {
            "image": image,
            "question": "Is it red?",
            "answers": ["yes"],
            "question_id": 8,
            "type": "human",
        },
    ]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "test-00000-of-00001.parquet")
    return root / "test-00000-of-00001.parquet"


def jsonl(root, count=2):
    images(root, *(f"{n}.png" for n in range(count)))
    rows = [
        {"image": f"{n}.png", "question": f"what color is thing {n}?", "answers": ["red"]}
        for n in range(count)
    ]
    return write(root / "labels.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
