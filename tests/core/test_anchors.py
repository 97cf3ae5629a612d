"""Anchors: the bank of their questions, and their transplantation to other images."""

from collections import Counter

import pytest

from services.core.anchors import OF_TASKS, bank, transplant
from services.core.questions import question_kind
from services.core.tasks import TASKS

QUESTIONS = [f"what is {number}?" for number in range(7)]
IMAGES = [f"{number:064x}" for number in range(40)]


def test_pairs_are_new_different_and_even():
    taken = {(image, QUESTIONS[0]) for image in IMAGES[3:]}
    pairs = transplant(QUESTIONS, IMAGES, taken, 100, seed=0)
    assert len(set(pairs)) == 100
    assert not taken & set(pairs)
    asked = Counter(question for _, question in pairs)
    assert asked.pop(QUESTIONS[0]) == 3, "all that it has left"
    assert max(asked.values()) - min(asked.values()) <= 1
    assert len({image for image, _ in pairs}) > 30


def test_a_question_that_differs_in_its_case_alone_is_taken_too():
    taken = {(image, "Which  word is THIS?") for image in IMAGES[1:]}
    assert transplant(["which word is this"], IMAGES, taken, 5, seed=0) == [
        (IMAGES[0], "which word is this")
    ]


def test_a_draw_is_the_same_again_and_a_larger_one_contains_it():
    few = transplant(QUESTIONS, IMAGES, (), 50, seed=3)
    assert transplant(QUESTIONS[::-1], IMAGES[::-1], (), 90, seed=3)[:50] == few
    assert set(transplant(QUESTIONS, IMAGES, (), 50, seed=4)) != set(few)


def test_there_are_as_many_as_there_can_be():
    taken = {(IMAGES[0], QUESTIONS[0])}
    assert len(transplant(QUESTIONS, IMAGES, taken, 10_000, seed=0)) == 7 * 40 - 1
    assert transplant([], IMAGES, (), 5, seed=0) == transplant(QUESTIONS, [], (), 5, seed=0) == []


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_questions_of_kinds_that_a_gap_lacks(task):
    gap = ["is it red?", "how many dogs are there?"]
    own = ["are there cats?", "where is the cat?"]
    found = bank(task, own, gap)
    assert len(found) > 12
    assert "where is the cat?" in found
    assert not {question_kind(each) for each in found} & {"yes/no", "how many"}
    (of_task,) = (each for names, each in OF_TASKS.items() if task in names.split())
    assert not set(found) & set(of_task)


def test_given_questions_are_all_asked_and_general_ones_are_not():
    found = bank("vqa", ["where is it?"], ["is it red?"], ["is it alive?", "what is it?"])
    assert found == ["is it alive?", "what is it?", "where is it?"]
