import json

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
