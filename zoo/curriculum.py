"""Courses and lessons of each model: mixtures of conversations and their rates."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from services.core.tasks import TASKS, answer_prompt
from zoo.architecture import CAPTION_PROMPT
from zoo.packing import Conversation
from zoo.shapes import SKILLS, Scene, draw_scene, find_answer

_ANNOTATED = {
    "color present": 20,
    "color absent": 20,
    "shape present": 12,
    "shape absent": 12,
    "color": 18,
    "shape": 18,
}
"""Skills of the teacher's annotations, in percent: easy-VQA's mixture with more open questions."""
_ANNOTATED_SURELY = {
    "color present": 22,
    "color absent": 24,
    "shape present": 6,
    "shape absent": 6,
    "color": 20,
    "shape": 22,
}
"""The same with fewer yes/no questions about shapes, which the teacher is less sure of."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Steps on one mixture of conversations. Rates are per image."""

    steps: int
    images: int
    """Images per step."""
    questions: int
    """Questions per image."""
    skills: dict[str, int]
    """Relative weight of each skill in questions."""
    caption_rate: float = 1.0
    annotation_rate: float = 0.0
    easy_vqa_rate: float = 0.0
    """Share of the images that are easy-VQA's own, not rendered."""
    annotated: dict[str, int] = field(default_factory=lambda: _ANNOTATED)
    """Relative weight of each skill in annotations."""


class HasSteps(Protocol):
    @property
    def steps(self) -> int: ...


L = TypeVar("L", bound=HasSteps)


@dataclass(frozen=True, slots=True)
class Curriculum(Generic[L]):
    """Lessons that share an optimiser, and their learning rate.

    The rate warms up, follows a slow cosine, and falls linearly to zero.
    """

    lessons: tuple[L, ...]
    cosine_steps: int
    """Length of the cosine, which the cool-down cuts short."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    warm_up_steps: int = 100
    cool_down_steps: int = 600

    @property
    def steps(self) -> int:
        return sum(lesson.steps for lesson in self.lessons)

    def scale_learning_rate(self, step: int) -> float:
        """Factor of the peak rate at a step."""
        edges = min(
            1.0, (step + 1) / self.warm_up_steps, (self.steps - step) / self.cool_down_steps
        )
        return edges * 0.5 * (1 + math.cos(math.pi * step / self.cosine_steps))

    def find_lesson(self, step: int) -> L:
        for lesson in self.lessons:
            if step < lesson.steps:
                return lesson
            step -= lesson.steps
        raise IndexError(f"the curriculum has {self.steps} steps")


_EVERYTHING = {
    "color present": 3,
    "color absent": 3,
    "shape present": 2,
    "shape absent": 2,
    "color": 1,
    "shape": 1,
}
_MOSTLY_SHAPES = {
    "color present": 1,
    "color absent": 1,
    "shape present": 2,
    "shape absent": 2,
    "shape": 3,
}
_MIXED = Lesson(
    steps=900,
    images=24,
    questions=5,
    skills=_EVERYTHING,
    caption_rate=0.2,
    annotation_rate=0.5,
    easy_vqa_rate=0.25,
)
_LOOK_CLOSELY = Lesson(
    steps=700,
    images=24,
    questions=3,
    skills=_MOSTLY_SHAPES,
    annotation_rate=0.2,
    easy_vqa_rate=0.25,
)
TEACHER = (
    Curriculum(
        lessons=(
            Lesson(steps=300, images=48, questions=1, skills={"color": 1, "shape": 1}),
            _MIXED,
            _LOOK_CLOSELY,
            replace(_MIXED, steps=100),
            replace(
                _LOOK_CLOSELY, steps=900, skills=_MOSTLY_SHAPES | {"color": 1}, annotation_rate=0.4
            ),
        ),
        cosine_steps=3800,
    ),
    Curriculum(
        lessons=(
            replace(_LOOK_CLOSELY, steps=500, annotation_rate=1.0, annotated=_ANNOTATED_SURELY),
        ),
        cosine_steps=700,
        learning_rate=7e-4,
        warm_up_steps=20,
        cool_down_steps=200,
    ),
)
"""Colour and negation come first, then shape, which is harder to see.

The second course is practice in annotating.
"""
STUDENT = (
    Curriculum(
        lessons=(
            Lesson(steps=1000, images=32, questions=0, skills={}),
            Lesson(
                steps=700,
                images=24,
                questions=4,
                skills={"color present": 3, "shape present": 2, "color": 1},
                caption_rate=0.5,
            ),
        ),
        cosine_steps=3000,
        cool_down_steps=400,
    ),
    Curriculum(
        lessons=(
            Lesson(
                steps=300,
                images=16,
                questions=4,
                skills={"color present": 1, "color": 1, "shape present": 2, "shape absent": 2},
                caption_rate=0.3,
            ),
        ),
        cosine_steps=600,
        learning_rate=7e-4,
        warm_up_steps=20,
        cool_down_steps=150,
    ),
)
"""The student sees as well, but was never asked "what shape", nor whether a colour is absent."""


def plan_step(
    lesson: Lesson, rng: random.Random, easy_vqa_scenes: list[Scene]
) -> tuple[list[Scene], list[list[Conversation]]]:
    """The scenes of one step and the conversations about each."""
    scenes = [
        rng.choice(easy_vqa_scenes) if rng.random() < lesson.easy_vqa_rate else draw_scene(rng)
        for _ in range(lesson.images)
    ]
    return scenes, [_plan_conversations(lesson, scene, rng) for scene in scenes]


def _plan_conversations(lesson: Lesson, scene: Scene, rng: random.Random) -> list[Conversation]:
    conversations = []
    for _ in range(lesson.questions):
        question, answer = ask(lesson.skills, scene, rng)
        conversations.append(Conversation(answer_prompt(question), answer))
    if rng.random() < lesson.caption_rate:
        conversations.append(Conversation(CAPTION_PROMPT, scene.caption))
    if rng.random() < lesson.annotation_rate:
        question, answer = ask(lesson.annotated, scene, rng)
        conversations.append(
            Conversation(TASKS["vqa"].annotation_prompt, f"Question: {question}\nAnswer: {answer}")
        )
    return conversations


def ask(skills: dict[str, int], scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A question that asks for one of the skills, and its answer."""
    (skill,) = rng.choices(tuple(skills), weights=tuple(skills.values()))
    question = SKILLS[skill](scene, rng)
    answer = find_answer(question, scene.shape, scene.color)
    assert answer is not None, question
    return question, answer
