"""Anchors: questions of elsewhere, asked of training images, on which a student shall not change.

An anchor has no right answer: the base student's own one is kept, by a divergence in the loss
(services/student/leveler.py; docs/decisions/anchors.md). It is a pair of an image of the training
and a question that neither the parity set nor an annotation asks of this image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from services.core.questions import question_kind

OF_TASKS: dict[str, tuple[str, ...]] = {
    "textvqa stvqa": (
        "what brand is named here?",
        "what does the sign say?",
        "what number is on the shirt?",
        "which city is written on the bus?",
        "what is the title of the book?",
        "how much does it cost?",
        "is there any text on the wall?",
        "what time is shown?",
        "who wrote this?",
        "what is the first word on the label?",
        "what street is this?",
        "does the sign mention a name?",
    ),
    "chartqa": (
        "which category has the highest value?",
        "what is the smallest value in the chart?",
        "how many bars are there?",
        "does the line rise in the last year?",
        "what is the difference between the first and the last value?",
        "which color stands for the second group?",
        "what is the sum of all values?",
        "in which year was the value the lowest?",
        "are there more than five categories?",
        "what does the vertical axis show?",
        "what percentage has the largest part?",
        "is the first bar taller than the second?",
    ),
    "okvqa": (
        "what is this used for?",
        "where would you find this?",
        "what season is it?",
        "which country is this typical of?",
        "why is the person wearing this?",
        "what sport is being played?",
        "is this animal a mammal?",
        "what is it made of?",
        "who would use this at work?",
        "when do people eat this?",
        "how fast can this move?",
        "can this be recycled?",
    ),
    "vqa": (
        "what color is the largest object?",
        "how many people are there?",
        "what is on the left side?",
        "is there a tree?",
        "what shape is the object in the middle?",
        "where is the dog?",
        "what is the man holding?",
        "which object is nearest?",
        "are the lights on?",
        "what is behind the table?",
        "does the picture show a room?",
        "who is in the foreground?",
    ),
    "pathvqa": (
        "is there inflammation?",
        "does this show normal tissue?",
        "are the nuclei enlarged?",
        "is necrosis present?",
        "does the border look regular?",
        "are blood vessels visible?",
        "is this a section of the liver?",
        "was the sample stained?",
        "is the lesion in the center?",
        "are there two kinds of cells?",
        "does this show a tumor?",
        "is the surface smooth?",
    ),
    "ocr captioning": (
        "what is written in the image?",
        "what is the text in the first line?",
        "read the word in the middle.",
        "how many words are there?",
        "which letter comes first?",
        "is the text in capital letters?",
        "describe the image.",
        "what is happening here?",
        "what does the picture show as a whole?",
        "name the main object.",
        "what kind of place is this?",
        "which word is the longest?",
    ),
}
"""Questions of general use by the names of their tasks. Anchors take those of all other tasks."""


def bank(
    task: str, annotated: Collection[str], gap: Collection[str], given: Sequence[str] = ()
) -> list[str]:
    """The different questions of a task's anchors.

    Those that people have `given`; those that the run has `annotated`, of kinds that the `gap`
    lacks; and, if none are given, general ones of other tasks, also of kinds that the gap lacks.
    """
    learned = {question_kind(question) for question in gap}
    general = [
        question
        for names, questions in OF_TASKS.items()
        if not given and task not in names.split()
        for question in questions
    ]
    found = (each for each in (*sorted(annotated), *general) if question_kind(each) not in learned)
    return list(dict.fromkeys((*given, *found)))


def transplant(
    questions: Collection[str],
    images: Collection[str],
    taken: Collection[tuple[str, str]],
    count: int,
    seed: int,
) -> list[tuple[str, str]]:
    """Up to `count` different pairs of image and question, none of them `taken`.

    Each question is asked of as many images as any other, but for one image, as long as it has
    some left. The draw depends on `seed`, not on the order of questions and images, and a larger
    one contains a smaller one.
    """
    known = frozenset((image, _plain(question)) for image, question in taken)
    return list(islice(_pairs(questions, images, known, seed), count))


def _pairs(
    questions: Collection[str],
    images: Collection[str],
    taken: frozenset[tuple[str, str]],
    seed: int,
) -> Iterator[tuple[str, str]]:
    """All pairs. In each round each question takes its next image, from a place of its own."""
    order = sorted(set(images), key=lambda image: _lot(seed, image))
    following = {
        question: _free(question, order, taken, _lot(seed, question) % max(1, len(order)))
        for question in sorted(set(questions), key=lambda question: _lot(seed, question))
    }
    while following:
        for question, free in list(following.items()):
            image = next(free, None)
            if image is None:
                del following[question]
            else:
                yield image, question


def _free(
    question: str, images: Sequence[str], taken: frozenset[tuple[str, str]], first: int
) -> Iterator[str]:
    turned = (images[(first + step) % len(images)] for step in range(len(images)))
    plain = _plain(question)
    return (image for image in turned if (image, plain) not in taken)


def _plain(question: str) -> str:
    """The question without case and outer marks: a like one asks the same."""
    return " ".join(question.casefold().split()).rstrip(" ?.")


def _lot(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode()).digest())
