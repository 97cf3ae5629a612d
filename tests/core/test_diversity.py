import random
from collections import Counter
from itertools import combinations

import easy_vqa
import pytest

from services.core.annotation import Rejection
from services.core.diversity import (
    Collapsed,
    allotted,
    balanced,
    collapse,
    draw,
    focused,
    is_near_duplicate,
    told,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What color is the shape?", "which color is the shape in the image"),
        ("What is the color of the car?", "What color is the car?"),
        ("How many dogs are there?", "How many dog are there?"),
        ("What is shown on the man's red shirt?", "What is shown on the man's shirt?"),
        ("Is the car red?", "Is this car red?"),
        ("Is there a dog in the picture?", "Is there a dog?"),
        ("這是什麼?", "這是什麼"),
    ],
)
def test_other_wordings_of_a_question_are_near_duplicates(one, other):
    assert is_near_duplicate(one, other)
    assert is_near_duplicate(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What color is the car?", "What shape is the car?"),
        ("What does the red sign say?", "What does the blue sign say?"),
        ("What is the value for 2010?", "What is the value for 2011?"),
        (
            "What is the highest value of sales there in 2010?",
            "What is the highest value of sales there in?",
        ),
        ("Is the dog bigger than the cat?", "Is the cat bigger than the dog?"),
        ("Is the car red?", "Which car is red?"),
        ("Is the sign visible?", "Isn't the sign visible?"),
        ("Does the image not contain a red circle?", "Does the image contain a red circle?"),
        ("What is on the table?", "What is under the table?"),
        ("What is it?", "What is that doing?"),
        ("What color is the car?", "What color is the red car?"),
        ("How many dogs are there?", "How many cats are there?"),
        ("這是什麼?", "那是誰?"),
    ],
)
def test_other_questions_are_not(one, other):
    assert not is_near_duplicate(one, other)
    assert not is_near_duplicate(other, one)


def test_the_near_duplicates_of_a_real_data_set_have_the_same_answer():
    """Training questions of easy-VQA, whose answers are known.

    docs/decisions/votes-and-samples.md has the figures.
    """
    by_image: dict[int, list[tuple[str, str]]] = {}
    for question, answer, image in zip(*easy_vqa.get_train_questions(), strict=True):
        by_image.setdefault(image, []).append((question, answer))
    found = [
        one_answer == other_answer
        for asked in list(by_image.values())[:1000]
        for (one, one_answer), (other, other_answer) in combinations(asked, 2)
        if is_near_duplicate(one, other)
    ]
    assert (len(found), all(found)) == (347, True)


ASKED = [
    "What color is it?",
    "what color is it",
    "Which color is it?",
    "What color is the car?",
    "How many dogs are there?",
]


def test_the_first_of_an_images_questions_stays_and_the_others_name_it():
    duplicate, near = Collapsed(Rejection.DUPLICATE, 0), Collapsed(Rejection.NEAR_DUPLICATE, 0)
    assert collapse(ASKED) == [None, duplicate, None, None, None]
    assert collapse(ASKED, near=True) == [None, duplicate, near, None, None]


def test_an_image_keeps_so_many_of_a_kind():
    full = Collapsed(Rejection.KIND_FULL, 0)
    assert collapse(ASKED, near=True, max_per_kind=1)[3:] == [full, None]


def test_earlier_questions_come_before_the_prompt_and_the_first_prompt_is_unchanged():
    assert told("the prompt", []) == "the prompt"
    assert told("the prompt", ["a?", "b?"]).splitlines()[1:] == ["- a?", "- b?", "", "the prompt"]


def kind(item: str) -> str:
    return item[0]


@pytest.mark.parametrize(
    ("sizes", "max_share", "expected"),
    [
        ({"a": 80, "b": 15, "c": 5}, 1.0, {"a": 80, "b": 15, "c": 5}),
        ({"a": 80, "b": 15, "c": 5}, 0.5, {"a": 20, "b": 15, "c": 5}),
        ({"a": 30, "b": 30, "c": 30}, 0.34, {"a": 30, "b": 30, "c": 30}),
        ({"a": 10, "b": 10}, 0.1, {"a": 1, "b": 1}),  # no such set: one of each
        ({"a": 10}, 0.5, {"a": 1}),
        ({}, 0.5, {}),
    ],
)
def test_no_kind_takes_more_than_its_share_of_what_is_left(sizes, max_share, expected):
    items = [f"{name}{at}" for name, size in sizes.items() for at in range(size)]
    random.Random(1).shuffle(items)
    left = balanced(items, kind, max_share)
    assert Counter(map(kind, left)) == expected
    assert left == [item for item in items if item in set(left)]


def test_drawing_fills_up_with_other_kinds_and_takes_fewer_where_there_are_none():
    items = [f"{name}{at}" for at in range(50) for name in "abc"]
    assert draw(items, kind, 10, 1.0) == items[:10]
    mostly_a = [f"a{at}" for at in range(90)] + [f"b{at}" for at in range(10)]
    assert Counter(map(kind, draw(mostly_a, kind, 20, 0.5))) == {"a": 10, "b": 10}
    assert Counter(map(kind, draw(mostly_a, kind, 40, 0.5))) == {"a": 20, "b": 10}
    assert draw(mostly_a, kind, 0, 0.5) == []


def test_a_kind_is_allotted_its_share_of_the_lots():
    counts = {"yes/no": 6, "how many": 3, "what color": 1, "who is": 0}
    lots = Counter(allotted(counts, number / 1000) for number in range(1000))
    assert lots == {"how many": 300, "what color": 100, "yes/no": 600}
    assert {allotted({}, lot) for lot in (0.0, 0.999)} == {""}
    assert {allotted({"yes/no": 1}, lot) for lot in (0.0, 0.999999)} == {"yes/no"}


def test_the_kind_that_is_wished_for_stands_before_the_prompt():
    assert focused("Write one.", "") == "Write one."
    assert (
        focused("Write one.", "how many")
        == 'Ask a question that begins with "how many".\n\nWrite one.'
    )
    assert (
        focused("Write one.", "yes/no")
        == "Ask a question that is answered by yes or no.\n\nWrite one."
    )
