"""What defines a run. Fixed when the run is created: a run that is repeated with other settings would mix two experiments."""

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
from services.core.recipes import AS_IT_IS, RECIPES, Amendments, Recipe
from services.core.tasks import TASKS, Task
from services.orchestrator.images.store import settled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """`images` is absolute or a URL: what images/opening.py opens. `limit` 0 takes all. `matcher` is an identity, "exact@1".

    `student_matcher` "" is the same one. `lora_rank` 0 trains the whole student. `guided`: the teacher can write nothing but a
    question and an answer. `redo_rejected`: rounds after the first ask anew for annotations that were rejected. `focus`: they
    ask for more of the kinds that the student fails at. `near_duplicates`: bits within which an image repeats an earlier one,
    None leaves all; `leak_check`: sources of images that are kept out, besides those of --eval. `pilot`: a quote's, over a few
    of the images. `teachers`: how many; several vote.
    """

    images: str
    task: str
    recipe: Recipe
    matcher: str
    limit: int = 0
    full_matrix: bool = False
    seed: int = 0
    lora_rank: int = 0
    guided: bool = False
    student_matcher: str = ""
    redo_rejected: bool = False
    focus: bool = False
    near_duplicates: int | None = None
    leak_check: tuple[str, ...] = ()
    pilot: bool = False
    teachers: int = 1

    @property
    def the_task(self) -> Task:
        return TASKS[self.task]

    @property
    def the_matcher(self) -> Matcher:
        """Decides on the teacher's answers. Raises WrongState where the rule has changed since the run was created."""
        return _matcher(self.matcher)

    @property
    def the_student_matcher(self) -> Matcher:
        """Decides on the student's answers in PI. Raises as `the_matcher` does."""
        return _matcher(self.student_matcher or self.matcher)

    @property
    def contract(self) -> Contract:
        """How the version that this run trains is asked: in the words, decoding and rule by which the run judges it."""
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
    def conditions(self) -> str:
        """How both models are asked, as a hash that is stored with every answer."""
        return _hash(self.recipe.answer_template, self.recipe.answer_decoding)

    @property
    def sample_conditions(self) -> str:
        """As `conditions`, of the sampled answers; the seed of each is a function of the run's."""
        return _hash(self.recipe.answer_template, self.recipe.sample_decoding(seed=0))

    @property
    def annotation_conditions(self) -> str:
        """How the teacher is asked to annotate, as a hash; the seed of each call stands beside its reply."""
        prompt = self.recipe.annotation_prompt(self.the_task)
        told = ("told",) if self.recipe.distinct_questions else ()
        focused = ("focused",) if self.focus else ()
        return _hash(prompt, self.recipe.annotation_decoding, self.guided, *told, *focused)

    def annotation_decoding(self, image_sha256: str, index: int, attempt: int) -> Decoding:
        """The recipe's, with a seed of its own for each question of each image, the same at every repetition."""
        return replace(
            self.recipe.annotation_decoding, seed=_seed(self.seed, image_sha256, index, attempt)
        )

    def sample_decoding(self, image_sha256: str, question: str, number: int) -> Decoding:
        """Of the answer sampled as the `number`th, with a seed of its own, too."""
        return self.recipe.sample_decoding(
            _seed(self.seed, image_sha256, "sample", number, question)
        )

    def lot(self, *of: object) -> float:
        """A number in [0, 1) that the run's seed and `of` decide."""
        return _seed(self.seed, *of) / 2**32

    def to_json(self) -> str:
        """A loss that is left to the preset is left out, as earlier releases have stored it."""
        fields = asdict(self)
        if not self.recipe.loss:
            del fields["recipe"]["loss"]
        return json.dumps(fields, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        fields = json.loads(text)
        recipe = fields.pop("recipe")
        for part in ("annotation_decoding", "answer_decoding"):
            recipe[part] = Decoding(**recipe[part])
        return cls(
            recipe=Recipe(**recipe), leak_check=tuple(fields.pop("leak_check", ())), **fields
        )


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
    """Checks every name. Raises InvalidInput that lists the names there are."""
    chosen_task, chosen_recipe = _named(TASKS, task, "task"), _named(RECIPES, recipe, "recipe")
    rule = _named(MATCHERS, matcher or chosen_recipe.matcher or chosen_task.matcher, "matcher")
    of_student = _named(
        MATCHERS, student_matcher or chosen_recipe.student_matcher or rule.name, "matcher"
    )
    if chosen_task.question and (amendments.questions_per_image or 1) > 1:
        raise InvalidInput(
            f"the task {task} has one question for all images, and it was to be put {amendments.questions_per_image} times "
            "about each: leave out --questions",
            field="questions",
        )
    where = settled(images)
    other = "" if of_student is rule else of_student.identity
    amended = amendments.of(chosen_recipe.of_task(chosen_task))
    chosen = (where, task, amended, rule.identity, limit, full_matrix, seed, lora_rank, guided)
    return Settings(*chosen, student_matcher=other, teachers=teachers)


def require_same(of_run: Settings, asked: Settings, folder: Path) -> None:
    """Raises WrongState that names every setting which differs."""
    stored, wanted = _parts(of_run), _parts(asked)
    differing = [
        f"{name}: {value} there, {wanted[name]} now"
        for name, value in stored.items()
        if wanted.get(name, value) != value
    ]
    if differing:
        raise WrongState(
            f"the run in {folder} has other settings ({'; '.join(differing)}): repeat its own command, or give another --run"
        )


@cache
def _hash(*asked: str | bool | Decoding) -> str:
    parts = [asdict(part) if isinstance(part, Decoding) else part for part in asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _matcher(identity: str) -> Matcher:
    found = MATCHERS[identity.partition("@")[0]]
    if found.identity != identity:
        raise WrongState(
            f"this run was decided by {identity}, which is {found.identity} by now: start a new run"
        )
    return found


def _parts(settings: Settings) -> dict[str, object]:
    """By name; the parts of a recipe have its name before theirs, so that only those of the same recipe are compared."""
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
