import random

import pytest

from zoo.easy_vqa import test_questions as official_questions
from zoo.shapes import SKILLS, draw_scene, find_answer, find_skill, list_questions


def test_renderer_is_deterministic_per_seed():
    one, same, other = (draw_scene(random.Random(seed)) for seed in (1, 1, 2))
    assert one.image.tobytes() == same.image.tobytes()
    assert one.caption == same.caption
    assert one.image.tobytes() != other.image.tobytes()


def test_grammar_answers_its_own_questions():
    rng = random.Random(0)
    for skill, ask in SKILLS.items():
        for _ in range(50):
            scene = draw_scene(rng)
            question = ask(scene, rng)
            assert find_skill(question) == skill
            assert question in list_questions()
            assert find_answer(question, scene.shape, scene.color)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is there a red shape?", "yes"),
        ("is no red shape present?", "no"),
        ("does the image not contain a circle?", "yes"),
        ("what is the color of the triangle?", "red"),
        ("what is the red shape?", "triangle"),
        ("what is the teal shape?", None),
        ("how many dogs are there?", None),
    ],
)
def test_golden_answers_about_a_red_triangle(question, answer):
    assert find_answer(question, "triangle", "red") == answer


def test_grammar_covers_the_official_questions():
    assert {question.text for question in official_questions()} <= set(list_questions())
