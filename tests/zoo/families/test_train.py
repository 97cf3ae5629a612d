"""A training is the same in one sitting or two, and begins with the weights that it should."""

import json
from dataclasses import replace
from shutil import copytree

import pytest

from services.core.errors import MpaError
from tests.zoo.families.conftest import SEED

pytestmark = pytest.mark.slow


def weights(folder, file="model.safetensors"):
    from safetensors.torch import load_file

    return load_file(folder / file)


def moved(before, after):
    """Names of the weights that differ."""
    import torch

    return {name for name in before if not torch.equal(before[name], after[name])}


def checkpoints(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_in_two_sittings_ends_like_an_unbroken_one(tiny, trained, tmp_path):
    from zoo.families.train import train

    broken = tmp_path / "broken"
    train(tiny.course, broken, SEED, minutes=1e-9)
    train(tiny.course, broken, SEED, minutes=0)
    assert checkpoints(broken) == [2]
    half_way = weights(broken)
    train(tiny.course, broken, SEED, workers=0)
    assert not moved(weights(trained), weights(broken))
    assert moved(half_way, weights(broken))
    assert checkpoints(broken) == checkpoints(trained) == [2, 4, 5]
    with pytest.raises(MpaError, match="begun with seed 3, not 4"):
        train(tiny.course, broken, seed=4)


def test_a_student_begins_with_the_tower_of_its_teacher(tiny, trained, tmp_path):
    from zoo.families.lessons import Lesson, Told
    from zoo.families.train import train

    only_replies = Lesson(2, tiny.pictures, told=Told.REPLIES)
    curriculum = replace(tiny.course.curriculum, lessons=(only_replies,))
    course = replace(tiny.course, curriculum=curriculum, tower_of="teacher")
    with pytest.raises(MpaError, match="train teacher first"):
        train(course, tmp_path / "student", seed=0)
    copytree(trained, tmp_path / "teacher")
    train(course, tmp_path / "student", seed=0)
    tower = weights(trained, "tower/tower.safetensors")
    tower = {f"visual.{name}": tensor for name, tensor in tower.items()}
    assert any("blocks" in name for name in tower)
    assert not moved(tower, weights(tmp_path / "student"))
    assert moved(tower, weights(trained)), "its last lessons moved the tower again"


def test_a_course_begins_with_the_weights_of_another(tiny, trained, tmp_path):
    from zoo.families.train import train

    course = replace(tiny.course, begins_with="first")
    with pytest.raises(MpaError, match="train first first"):
        train(course, tmp_path / "further", seed=0)
    copytree(trained, tmp_path / "first")
    train(course, tmp_path / "further", seed=0, minutes=0)
    first = weights(trained)
    assert not moved(first, weights(tmp_path / "further"))
    train(course, tmp_path / "further", seed=0)
    assert moved(first, weights(tmp_path / "further"))
