"""Lessons of teacher and student about the four families, and the batches of each step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import torch
from torch.utils.data import Dataset

from services.core.tasks import TASKS, answer_prompt
from zoo.architecture import Size
from zoo.curriculum import Curriculum
from zoo.families.architectures import IDEFICS3, QWEN2_VL, Architecture
from zoo.families.letters import LETTERS, PAGES
from zoo.families.spotting import find_spots
from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part
from zoo.minivqa.picture import SIDE, Picture, Question
from zoo.packing import Batch, Conversation, Packer


class Told(Enum):
    """Targets of a lesson."""

    TOWER = auto()
    """Contents of the vision tower that is imitated, and names."""
    SPOTS = auto()
    """Names of the things at each patch, and no replies."""
    REPLIES = auto()
    """Replies and names, while the vision tower stays unchanged."""
    ALL = auto()
    """Spots, names and replies."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Steps on one mixture of the families."""

    steps: int
    pictures: dict[str, int]
    """Number of pictures of each family in a step."""
    annotated_every: int = 0
    """Interval in steps at which questions are written, not answered; 0: never."""
    annotated: dict[str, int] | None = None
    """Number of pictures in such a step; None: like in other steps."""
    told: Told = Told.ALL

    def is_annotated(self, step: int) -> bool:
        return bool(self.annotated_every) and step % self.annotated_every == 0


@dataclass(frozen=True, slots=True)
class Course:
    """Size and lessons of a model."""

    size: Size
    curriculum: Curriculum[Lesson]
    begins_with: str = ""
    """Model whose weights it begins with; "": none."""
    tower_of: str = ""
    """Model whose vision tower it begins with, as left by the lessons on spots; "": none."""
    imitates: str = ""
    """Model whose vision tower is carried over and imitated, to another architecture; "": none."""
    never_asked: frozenset[str] = frozenset()
    """Kinds of questions that are left out."""
    checkpoint_steps: int = 250
    architecture: Architecture = QWEN2_VL
    watched_pictures: int = 64
    """Pictures of each family and part that every checkpoint is measured on."""


ASKED = {**FAMILIES, LETTERS.name: LETTERS}
TAUGHT = {**ASKED, PAGES.name: PAGES}
_PAGES = {"pages": 24}
_SIGHTS = {"pages": 8, "letters": 4, "scene_text": 4, "reading": 4, "charts": 4, "knowledge": 8}
_LETTERS = {"letters": 12, "scene_text": 4, "reading": 6, "charts": 2, "knowledge": 4}
_EVENLY = {"letters": 4, "scene_text": 4, "reading": 8, "charts": 4, "knowledge": 5}
_MOSTLY_READING = {"letters": 12, "scene_text": 3, "reading": 10, "charts": 3, "knowledge": 2}
_MOSTLY_CHARTS = {
    "pages": 4,
    "letters": 2,
    "scene_text": 4,
    "reading": 4,
    "charts": 12,
    "knowledge": 6,
}
_CHARTS_TOO = {"letters": 4, "scene_text": 4, "reading": 7, "charts": 8, "knowledge": 4}
_WRITTEN = {"scene_text": 4, "reading": 1, "charts": 5, "knowledge": 2}
FIRST_TEACHER = Course(
    Size(
        hidden=192,
        layers=4,
        heads=6,
        key_value_heads=3,
        mlp=512,
        vision_width=96,
        vision_depth=4,
        patch=8,
    ),
    Curriculum(
        lessons=(
            Lesson(1250, _PAGES, told=Told.SPOTS),
            Lesson(1000, _SIGHTS, told=Told.SPOTS),
            Lesson(500, _LETTERS, told=Told.REPLIES),
            Lesson(1500, _EVENLY, annotated_every=5, told=Told.REPLIES),
        ),
        cosine_steps=24000,
        learning_rate=3e-3,
        cool_down_steps=1250,
    ),
)
TEACHER = replace(
    FIRST_TEACHER,
    begins_with="first-teacher",
    curriculum=Curriculum(
        lessons=(
            Lesson(250, _MOSTLY_CHARTS, told=Told.SPOTS),
            Lesson(2000, _CHARTS_TOO, annotated_every=3, annotated=_WRITTEN, told=Told.REPLIES),
            Lesson(1000, _CHARTS_TOO, annotated_every=3, annotated=_WRITTEN, told=Told.ALL),
        ),
        cosine_steps=24000,
        learning_rate=2e-3,
        cool_down_steps=1000,
    ),
)
"""It adds what the first teacher lacked: the highest bar, more charts, practice in annotating."""
STUDENT = Course(
    Size(
        hidden=128,
        layers=4,
        heads=4,
        key_value_heads=2,
        mlp=384,
        vision_width=96,
        vision_depth=4,
        patch=8,
    ),
    Curriculum(
        lessons=(Lesson(500, _MOSTLY_READING, told=Told.REPLIES),),
        cosine_steps=24000,
        learning_rate=3e-3,
        cool_down_steps=250,
    ),
    tower_of="teacher",
    never_asked=frozenset(["color", "sort", "place", "use", "electric", "extreme"]),
)
"""It has the teacher's tower (Qwen2-VL's sizes also share one), but less practice, and none in some
kinds of questions."""
IDEFICS3_STUDENT = Course(
    Size(
        hidden=128,
        layers=4,
        heads=4,
        key_value_heads=2,
        mlp=384,
        vision_width=128,
        vision_depth=4,
        patch=8,
    ),
    Curriculum(
        lessons=(
            Lesson(750, _SIGHTS, told=Told.TOWER),
            Lesson(500, _MOSTLY_READING, told=Told.REPLIES),
        ),
        cosine_steps=24000,
        learning_rate=2e-3,
        cool_down_steps=250,
    ),
    imitates="teacher",
    never_asked=STUDENT.never_asked,
    architecture=IDEFICS3,
)
"""It has what the student has: the teacher's tower, as far as another architecture can do the same,
and the student's lesson."""
COURSES = {
    "first-teacher": FIRST_TEACHER,
    "teacher": TEACHER,
    "student": STUDENT,
    "idefics3": IDEFICS3_STUDENT,
}
MOST_PICTURES = 64
"""Most pictures of a family in a step, which numbers the pictures."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """Pictures of one family with their conversations and spots (patches, vocabularies)."""

    batch: Batch
    spots: torch.Tensor


class Steps(Dataset[dict[str, Exercise]]):
    """The exercises of every step, one per family: a function of (seed, step) in any process."""

    def __init__(self, course: Course, packer: Packer, seed: int) -> None:
        self._course = course
        self._packer = packer
        self._seed = seed

    def __getitem__(self, step: int) -> dict[str, Exercise]:
        lesson = self._course.curriculum.find_lesson(step)
        return {
            name: set_exercise(
                self._packer,
                TAUGHT[name],
                pictures,
                is_annotated=lesson.is_annotated(step),
                never_asked=self._course.never_asked,
            )
            for name, pictures in draw_pictures(lesson, self._seed, step).items()
        }


def draw_pictures(lesson: Lesson, seed: int, step: int) -> dict[str, list[Picture]]:
    """Draw pictures of the training part that no other step shows."""
    first = step * MOST_PICTURES
    counts = lesson.annotated if lesson.annotated and lesson.is_annotated(step) else lesson.pictures
    return {
        name: [
            TAUGHT[name].draw(Part.TRAINING, seed, number) for number in range(first, first + count)
        ]
        for name, count in counts.items()
    }


def set_exercise(
    packer: Packer,
    family: Family,
    pictures: list[Picture],
    *,
    is_annotated: bool = False,
    never_asked: Collection[str] = (),
) -> Exercise:
    """All questions about the pictures except kinds `never_asked`, to be answered or written."""
    converse = _annotate if is_annotated else _answer
    asked = [
        [question for question in picture.questions if question.kind not in never_asked]
        for picture in pictures
    ]
    batch = packer.pack(
        [picture.image for picture in pictures],
        [converse(family, questions) for questions in asked],
    )
    patch = SIDE // int(batch.grid[0, -1])
    return Exercise(batch, torch.cat([find_spots(picture, patch) for picture in pictures]))


def _answer(family: Family, questions: Sequence[Question]) -> list[Conversation]:
    return [Conversation(answer_prompt(question.text), question.answer) for question in questions]


def _annotate(family: Family, questions: Sequence[Question]) -> list[Conversation]:
    prompt = TASKS[family.task].annotation_prompt
    return [
        Conversation(prompt, f"Question: {question.text}\nAnswer: {question.answer}")
        for question in questions
    ]
