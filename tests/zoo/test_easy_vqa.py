import json
from collections import Counter

import pytest
from PIL import Image

from zoo import easy_vqa


def test_pool_is_disjoint_from_training_and_test():
    pool = easy_vqa.pool_image_paths()
    training = easy_vqa.training_image_paths()
    assert len(pool) == len(training) == 2000
    assert not pool.keys() & training.keys()
    trained_on = {scene.image.tobytes() for scene in easy_vqa.training_scenes()}
    for path in (*pool.values(), *easy_vqa.test_image_paths().values()):
        assert Image.open(path).convert("RGB").tobytes() not in trained_on


def test_export_writes_an_unlabeled_pool_and_a_labelled_test(tmp_path):
    easy_vqa.export(tmp_path)
    pool = {path.name: path.read_bytes() for path in (tmp_path / "pool").iterdir()}
    assert pool == {
        f"{i}.png": path.read_bytes() for i, path in easy_vqa.pool_image_paths().items()
    }
    lines = [
        json.loads(line)
        for line in (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 9673
    assert all((tmp_path / line["image"]).is_file() and line["answers"] for line in lines)


def test_the_dev_draw_is_new_and_asks_like_the_test(tmp_path):
    easy_vqa.export(tmp_path)
    dev, test, pool = (
        {Image.open(path).convert("RGB").tobytes() for path in (tmp_path / name).iterdir()}
        for name in ("dev", "test", "pool")
    )
    assert len(dev) == easy_vqa.DEV_IMAGES
    assert not dev & (test | pool)
    asked, official = (read(tmp_path / f"{name}.jsonl") for name in ("dev", "test"))
    assert len(asked) >= 1600
    assert all((tmp_path / row["image"]).is_file() for row in asked)
    for field in ("kind", "answers"):
        shares, wanted = (
            Counter((row["kind"], str(row[field])) for row in rows) for rows in (asked, official)
        )
        assert shares.keys() == wanted.keys()
        for each, count in wanted.items():
            assert shares[each] / len(asked) == pytest.approx(count / len(official), abs=0.02)
    assert {row["kind"] for row in asked if row["answers"][0] in ("yes", "no")} == {
        "yes/no, color present",
        "yes/no, color absent",
        "yes/no, shape present",
        "yes/no, shape absent",
    }


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
