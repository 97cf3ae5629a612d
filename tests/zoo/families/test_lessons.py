"""Lessons show pictures of the training part only: nothing of the test is in them."""

import re
from dataclasses import replace

import pytest

from zoo.minivqa import charts, knowledge, reading, scene_text, sources, tables
from zoo.minivqa.parts import Split

WORDINGS = tuple(
    value
    for module in (scene_text, reading, charts, knowledge)
    for value in vars(module).values()
    if isinstance(value, Split)
    and all(isinstance(text, str) and " " in text for text in value.seen)
)


def test_annotated_steps_may_show_other_pictures(tiny, packer):
    from zoo.curriculum import Curriculum
    from zoo.families.lessons import Lesson, Steps

    lesson = Lesson(2, {"charts": 3, "reading": 2}, annotated_every=2, annotated={"charts": 1})
    course = replace(tiny.course, curriculum=Curriculum((lesson,), cosine_steps=2))
    steps = Steps(course, packer, seed=0)
    annotated, answered = (
        {name: len(each.batch.tokens) for name, each in steps[step].items()} for step in (0, 1)
    )
    assert annotated == {"charts": 1}
    assert answered == {"charts": 3, "reading": 2}


@pytest.mark.parametrize("name", ["first-teacher", "teacher", "student", "idefics3"])
def test_training_shows_no_entity_of_the_test(name):
    from zoo.families.lessons import COURSES, TAUGHT, draw_pictures

    unseen = {
        *sources.FONTS.unseen,
        *sources.PHOTOGRAPHS.unseen,
        *(icons.font for icons in sources.ICON_SETS.unseen),
        *(column.table for column in tables.COLUMNS.unseen),
    }
    few = dict.fromkeys(TAUGHT, 8)
    for lesson in COURSES[name].curriculum.lessons:
        drawn = draw_pictures(replace(lesson, pictures=few), seed=0, step=0)
        shown = {
            entity
            for pictures in drawn.values()
            for picture in pictures
            for _, entity in picture.entities
        }
        assert shown
        assert not shown & unseen


def test_training_reads_no_wording_of_the_test(tiny, packer):
    from zoo.curriculum import Curriculum
    from zoo.families.lessons import ASKED, Lesson, Steps

    lesson = Lesson(4, dict.fromkeys(ASKED, 8), annotated_every=2)
    course = replace(tiny.course, curriculum=Curriculum((lesson,), cosine_steps=4))
    steps = Steps(course, packer, seed=0)
    exercises = [exercise for step in range(4) for exercise in steps[step].values()]
    text = "\n".join(packer.decode(row) for exercise in exercises for row in exercise.batch.tokens)
    assert len(WORDINGS) == 16

    def is_read(wording):
        return re.search(re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(wording)), text) is not None

    assert all(any(map(is_read, split.seen)) for split in WORDINGS)
    assert not any(map(is_read, (wording for split in WORDINGS for wording in split.unseen)))


def test_kinds_that_are_never_asked_are_in_no_exercise(packer):
    from zoo.curriculum import Curriculum
    from zoo.families.lessons import ASKED, COURSES, Lesson, Steps

    lesson = Lesson(1, dict.fromkeys(ASKED, 8))
    course = replace(COURSES["student"], curriculum=Curriculum((lesson,), cosine_steps=1))
    exercises = Steps(course, packer, seed=0)[0]
    text = "\n".join(
        packer.decode(row) for exercise in exercises.values() for row in exercise.batch.tokens
    )
    assert exercises["knowledge"].batch.conversations == 16, "what it is and whether it is alive"
    for split in (charts.EXTREME, knowledge.SORT, knowledge.USE, knowledge.PLACE):
        assert not any(wording in text for wording in split.seen)
    assert any(wording in text for wording in charts.HIGHEST.seen)


def test_every_word_of_the_tests_wordings_is_known_from_others():
    seen, unseen = (
        {
            word
            for split in WORDINGS
            for text in getattr(split, half)
            for word in re.findall(r"[a-z]+", text)
        }
        for half in ("seen", "unseen")
    )
    assert unseen <= seen
