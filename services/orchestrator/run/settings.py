"""The settings that define a run.

They are fixed when the run is created: with other settings it would mix two experiments.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from services.core.answers import MATCHERS, Matcher
from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.errors import InvalidInput, WrongState
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.recipes import AS_IT_IS, Amendments, Recipe, find_recipe
from services.core.regimen import Regimen
from services.core.tasks import TASKS, Task
from services.orchestrator.images.store import settled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Choices that a run keeps from its beginning."""

    images: str
    """Absolute path or URL of the pool, for images/opening.py."""
    task: str
    recipe: Recipe
    matcher: str
    """Identity of the matcher, such as "exact@1"."""
    limit: int = 0
    """Most images; 0 takes all."""
    full_matrix: bool = False
    """Ask the teacher about every annotation, not only if the student was wrong."""
    seed: int = 0
    lora_rank: int = 0
    """Rank of the adapters; 0 trains the whole student."""
    guided: bool = False
    """The teacher can write nothing but a question and an answer."""
    student_matcher: str = ""
    """Identity of the matcher for the student's answers; "" is the same as `matcher`."""
    redo_rejected: bool = False
    """Later rounds ask again for annotations that were rejected."""
    focus: bool = False
    """Later rounds ask for more questions of the kinds that the student fails at."""
    near_duplicates: int | None = None
    """Most bits by which a near-duplicate differs from an earlier image; None keeps all."""
    leak_check: tuple[str, ...] = ()
    """Sources of excluded images, in addition to those of --eval."""
    pilot: bool = False
    """Whether this is the run of a quote, over a few of the images."""
    teachers: int = 1
    """Number of teachers; several vote."""
    max_pixels: int = 0
    """Most pixels of an image: larger ones are shrunk once, for both models; 0: none is shrunk."""
    side_multiple: int = 1
    """Multiple of pixels for the sides of shrunk images: the patches of the student's processor."""
    anchor_questions: tuple[str, ...] = ()
    """Questions of anchors that people name; without any there are general ones."""

    @property
    def the_task(self) -> Task:
        return TASKS[self.task]

    @property
    def the_matcher(self) -> Matcher:
        """Matcher for the teacher's answers.

        Raises WrongState if its rule has changed since the run was created.
        """
        return _matcher(self.matcher)

    @property
    def the_student_matcher(self) -> Matcher:
        """Matcher for the student's answers in PI. Raises as `the_matcher` does."""
        return _matcher(self.student_matcher or self.matcher)

    @property
    def contract(self) -> Contract:
        """Contract of the trained version: the template, decoding and rule that the run
        judges it by.
        """
        decoding = self.recipe.answer_decoding
        return Contract(
            answer_template=self.recipe.answer_template,
            training_template=self.recipe.training_template,
            normaliser=self.matcher,
            temperature=decoding.temperature,
            max_new_tokens=decoding.max_new_tokens,
            top_p=decoding.top_p,
        )

    @property
    def pixel_budget(self) -> PixelBudget:
        """Most pixels of every image that the run sends."""
        return PixelBudget(self.max_pixels, self.side_multiple)

    @property
    def conditions(self) -> str:
        """Hash of how both models are asked; it is stored with every answer."""
        recipe = self.recipe
        return _hash(recipe.answer_template, recipe.answer_decoding, *self._pixels)

    @property
    def sample_conditions(self) -> str:
        """Hash of how answers are sampled. The seed of each sample follows from the run's."""
        recipe = self.recipe
        return _hash(recipe.answer_template, recipe.sample_decoding(seed=0), *self._pixels)

    @property
    def annotation_conditions(self) -> str:
        """Hash of how the teacher is asked to annotate.

        The seed of each call is stored with its reply.
        """
        prompt = self.recipe.annotation_prompt(self.the_task)
        told = ("told",) if self.recipe.distinct_questions else ()
        focused = ("focused",) if self.focus else ()
        decoding = self.recipe.annotation_decoding
        return _hash(prompt, decoding, self.guided, *told, *focused, *self._pixels)

    @property
    def _pixels(self) -> tuple[str, ...]:
        """The pixel budget in hashes; nothing without one, as in earlier releases."""
        return () if self.pixel_budget == UNLIMITED else (repr(self.pixel_budget),)

    def annotation_decoding(self, image_sha256: str, index: int, attempt: int) -> Decoding:
        """The recipe's decoding, with a seed for each question of each image that never changes."""
        return replace(
            self.recipe.annotation_decoding, seed=_seed(self.seed, image_sha256, index, attempt)
        )

    def sample_decoding(self, image_sha256: str, question: str, number: int) -> Decoding:
        """Decoding of the sample `number`, with a seed of its own."""
        return self.recipe.sample_decoding(
            _seed(self.seed, image_sha256, "sample", number, question)
        )

    def lot(self, *of: object) -> float:
        """A number in [0, 1) that follows from the run's seed and `of`."""
        return _seed(self.seed, *of) / 2**32

    def to_json(self) -> str:
        """The settings as JSON.

        Parts of the training that are left to the preset, no pixel budget and no questions of
        anchors are omitted, as in earlier releases.
        """
        fields = asdict(self)
        usual = asdict(Regimen()) | {"loss": ""}
        for name in usual.keys() - {"rehearsal_ratio"}:
            if fields["recipe"][name] == usual[name]:
                del fields["recipe"][name]
        if self.pixel_budget == UNLIMITED:
            del fields["max_pixels"], fields["side_multiple"]
        if not self.anchor_questions:
            del fields["anchor_questions"]
        return json.dumps(fields, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        fields = json.loads(text)
        recipe = fields.pop("recipe")
        for part in ("annotation_decoding", "answer_decoding"):
            recipe[part] = Decoding(**recipe[part])
        for name in ("leak_check", "anchor_questions"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(recipe=Recipe(**recipe), **fields)


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:4], "big")


def new_settings(
    images: str,
    task: str,
    recipe: str,
    matcher: str = "",
    limit: int = 0,
    full_matrix: bool = False,
    seed: int = 0,
    lora_rank: int = 0,
    guided: bool = False,
    student_matcher: str = "",
    amendments: Amendments = AS_IT_IS,
    teachers: int = 1,
) -> Settings:
    """Settings by names. Raises InvalidInput that lists the valid names if one is unknown."""
    chosen_task = _named(TASKS, task, "task")
    chosen_recipe = find_recipe(recipe)
    rule = _named(MATCHERS, matcher or chosen_recipe.matcher or chosen_task.matcher, "matcher")
    of_student = _named(
        MATCHERS, student_matcher or chosen_recipe.student_matcher or rule.name, "matcher"
    )
    if chosen_task.question and (amendments.questions_per_image or 1) > 1:
        raise InvalidInput(
            f"the task {task} has one question for all images, "
            f"not {amendments.questions_per_image} about each: leave out --questions",
            field="questions",
        )
    if lora_rank and (chosen_recipe.trainable or chosen_recipe.tower_rate is not None):
        raise InvalidInput(
            f"the recipe {recipe} trains parts of the student, and adapters are trained in all "
            "parts: leave out --lora-rank, or give a recipe without +narrow and +tower",
            field="lora_rank",
        )
    where = settled(images)
    other = "" if of_student is rule else of_student.identity
    amended = amendments.of(chosen_recipe.of_task(chosen_task))
    return Settings(
        images=where,
        task=task,
        recipe=amended,
        matcher=rule.identity,
        limit=limit,
        full_matrix=full_matrix,
        seed=seed,
        lora_rank=lora_rank,
        guided=guided,
        student_matcher=other,
        teachers=teachers,
    )


def require_same(of_run: Settings, asked: Settings, folder: Path) -> None:
    """Raises WrongState that names every setting that differs."""
    stored, wanted = _parts(of_run), _parts(asked)
    differing = [
        f"{name}: {value} there, {wanted[name]} now"
        for name, value in stored.items()
        if wanted.get(name, value) != value
    ]
    if differing:
        raise WrongState(
            f"the run in {folder} has other settings ({'; '.join(differing)}): "
            "repeat its own command, or give another --run"
        )


@cache
def _hash(*asked: str | bool | Decoding) -> str:
    parts = [asdict(part) if isinstance(part, Decoding) else part for part in asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _matcher(identity: str) -> Matcher:
    found = MATCHERS[identity.partition("@")[0]]
    if found.identity != identity:
        raise WrongState(
            f"this run used the matcher {identity}, which is now {found.identity}: start a new run"
        )
    return found


def _parts(settings: Settings) -> dict[str, object]:
    """Settings by name.

    A recipe's parts are prefixed with its name, so that only parts of the same recipe are
    compared.
    """
    fields = asdict(settings)
    recipe = fields.pop("recipe")
    name = recipe.pop("name")
    return {**fields, "recipe": name, **{f"{name}.{part}": value for part, value in recipe.items()}}


def _named(table: dict[str, T], name: str, what: str) -> T:
    if name not in table:
        raise InvalidInput(
            f"there is no {what} {name!r}: choose one of {', '.join(table)}", field=what
        )
    return table[name]
