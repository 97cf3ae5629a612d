"""Recipes: the choices of an alignment. Each run stores its recipe.

`paper`      the paper as written: one question per image, exactly the gap, the loss of Eq. 3. It
             trains on the gap of 85 % of the images; the others judge the candidate.
`authors`    the authors' released code with its quirks: indented prompts without the reply
             scaffold, the instruction glued to the question, containment as matcher, training
             without the instruction. The version is served with the instruction, since it
             is judged with it (docs/decisions/contract.md).
`rehearsal`  the paper's gap and as many samples that the student already had right: training on the
             gap alone makes small students forget (docs/decisions/rehearsal.md).
`filtered`   the gap and every sample that the student already had right: PI leaves out only what
             the teacher contradicts.
`parity`     the default: as `filtered`, with one question per image, and a sample of the gap weighs
             twice as much (docs/decisions/parity.md).

A recipe's name may have parts (arm_parts.py), such as filtered+weight-2+epochs-4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from services.core.arm_parts import FORM_OF_PARTS, with_parts
from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput
from services.core.regimen import Regimen
from services.core.tasks import ANSWER_INSTRUCTION, ANSWER_TEMPLATE, Task

SAMPLED = Decoding(temperature=1.0, max_new_tokens=96)
"""Decoding of PA, which the paper leaves open.

A small teacher with greedy decoding asks the same question about every image.
"""


@dataclass(frozen=True, slots=True)
class Recipe(Regimen):
    """One way to run PA, PI and PL. Templates contain "{question}"."""

    name: str
    questions_per_image: int = 1
    annotation_decoding: Decoding = SAMPLED
    answer_decoding: Decoding = GREEDY
    answer_template: str = ANSWER_TEMPLATE
    training_template: str = ANSWER_TEMPLATE
    scaffold: bool = True
    """The annotation prompt is as printed in Appendix D; False: indented, without its last line."""
    matcher: str = ""
    """Matcher instead of the task's."""
    student_matcher: str = ""
    """Matcher for the student's answers; "" is the same one (docs/decisions/two-matchers.md)."""
    held_out: float = 0.15
    """Share of the images that are kept out of training, to judge the candidate."""
    minimum_gap: int = 16
    """Fewest gap samples with which a student is trained."""
    distinct_questions: bool = False
    """Name the earlier questions of an image in each further prompt; collapse near-duplicates."""
    max_per_kind: int = 0
    """Most questions of one kind that an image keeps; 0: all."""
    max_share_per_kind: float = 1.0
    """Largest share of one kind of question, in the gap samples and in the known ones."""
    samples: int = 0
    """Number of times each teacher is asked again about every record chosen for training."""
    sample_temperature: float = 0.7
    min_agreement: float = 0.0
    """Least share of those answers that must match the annotation of a training sample."""
    loss: str = ""
    """"token" averages over the batch's answer tokens. "sample" sums over an answer's tokens and
    averages over samples (Eq. 3). "" leaves the choice to the student's preset."""

    def __post_init__(self) -> None:
        if self.min_agreement and not self.samples:
            raise InvalidInput(
                "an agreement is measured on samples: give their number too (--samples)",
                field="min_agreement",
            )

    def of_task(self, task: Task) -> Recipe:
        """This recipe with the task's own template, if it has one (a caption is no single word).

        A task with one question for all images asks it once per image: again, it would be a
        duplicate.
        """
        recipe = replace(self, questions_per_image=1) if task.question else self
        if task.answer_template == ANSWER_TEMPLATE:
            return recipe
        decoding = replace(self.answer_decoding, max_new_tokens=task.max_new_tokens)
        template = task.answer_template
        return replace(
            recipe, answer_template=template, training_template=template, answer_decoding=decoding
        )

    def annotation_prompt(self, task: Task) -> str:
        """The task prompt T_pr of this recipe."""
        if self.scaffold:
            return task.annotation_prompt
        lines = [
            line
            for line in task.annotation_prompt.splitlines()
            if not line.startswith("Assistant:")
        ]
        return "\n" + "\n".join(" " * 16 + line if line else line for line in lines)

    def sample_decoding(self, seed: int) -> Decoding:
        """Decoding of an answer, sampled."""
        return replace(
            self.answer_decoding, temperature=self.sample_temperature, top_p=1.0, seed=seed
        )


@dataclass(frozen=True, slots=True)
class Amendments:
    """Parts of a recipe that a run sets itself; None keeps the recipe's."""

    questions_per_image: int | None = None
    distinct_questions: bool | None = None
    max_per_kind: int | None = None
    max_share_per_kind: float | None = None
    samples: int | None = None
    sample_temperature: float | None = None
    min_agreement: float | None = None
    loss: str | None = None

    def of(self, recipe: Recipe) -> Recipe:
        """The amended recipe. Raises InvalidInput if the parts contradict each other."""
        return replace(
            recipe, **{name: value for name, value in asdict(self).items() if value is not None}
        )


AS_IT_IS = Amendments()

USUAL_RECIPE = "parity"
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("paper", loss="sample"),
        Recipe(
            "authors",
            annotation_decoding=Decoding(temperature=0.01, top_p=0.001, max_new_tokens=128),
            answer_decoding=Decoding(temperature=0.01, top_p=0.001, max_new_tokens=128),
            answer_template="{question}" + ANSWER_INSTRUCTION,
            training_template="{question}",
            scaffold=False,
            matcher="contains",
        ),
        Recipe("rehearsal", questions_per_image=2, rehearsal_ratio=1.0),
        Recipe("filtered", questions_per_image=2, rehearsal_ratio=None),
        Recipe("parity", rehearsal_ratio=None, gap_weight=2.0),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of this name, with its parts. Raises InvalidInput that lists the recipes."""
    form, plus, parts = name.partition("+")
    if form not in RECIPES:
        raise InvalidInput(
            f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}; "
            f"it may have parts ({FORM_OF_PARTS})",
            field="recipe",
        )
    return replace(with_parts(name, RECIPES[form], plus + parts, what="recipe"), name=name)
