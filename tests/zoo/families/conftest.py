"""A tiny course of all kinds of lessons, and a folder that it was trained into."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

SEED = 3


@pytest.fixture(scope="session")
def tiny():
    """`course`: five steps with checkpoints at 2, 4 and 5. `pictures`: two of each family."""
    from zoo.architecture import Size
    from zoo.curriculum import Curriculum
    from zoo.families.lessons import ASKED, TAUGHT, Course, Lesson, Told

    size = Size(
        hidden=64,
        layers=1,
        heads=2,
        key_value_heads=1,
        mlp=64,
        vision_width=32,
        vision_depth=1,
        patch=14,
    )
    pictures = dict.fromkeys(ASKED, 2)
    lessons = (
        Lesson(2, dict.fromkeys(TAUGHT, 2), told=Told.SPOTS),
        Lesson(1, pictures, told=Told.REPLIES),
        Lesson(2, pictures, annotated_every=2),
    )
    curriculum = Curriculum(lessons, cosine_steps=8, cool_down_steps=2, warm_up_steps=2)
    course = Course(size, curriculum, checkpoint_steps=2, watched_pictures=2)
    return SimpleNamespace(course=course, pictures=pictures)


@pytest.fixture(scope="session")
def imitator(tiny):
    """A tiny course for an Idefics3 that imitates the model "original"."""
    from zoo.families.architectures import IDEFICS3
    from zoo.families.lessons import Lesson, Told

    lessons = (
        Lesson(2, {"pages": 2}, told=Told.TOWER),
        Lesson(2, {"reading": 2}, told=Told.REPLIES),
    )
    return replace(
        tiny.course,
        architecture=IDEFICS3,
        size=replace(tiny.course.size, vision_width=64, patch=8),
        curriculum=replace(tiny.course.curriculum, lessons=lessons),
        imitates="original",
    )


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """A folder "teacher" of the tiny course, trained in one sitting with SEED."""
    import torch

    from zoo.families.train import train

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("families") / "teacher"
    train(tiny.course, folder, SEED)
    return folder
