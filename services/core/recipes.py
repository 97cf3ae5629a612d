"""Recipes: everything about an alignment that is a choice. A run stores its recipe; several stand side by side in a table.

`paper`      the paper as written: one question for each image, exactly the gap, the loss of Eq. 3. It trains on the gap of
             the images that aren't held out (85 %), since somebody has to judge the candidate.
`authors`    their released code with its quirks, for reproduction: indented prompts without the reply scaffold, the
             instruction glued to the question, containment as matcher, training without the instruction. The version is
             served as it is judged, with the instruction (docs/decisions/contract.md).
`rehearsal`  the paper's gap plus as many samples that the student already had right: gap-only training makes small students
             forget what they knew (docs/decisions/rehearsal.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from services.core.decoding import GREEDY, Decoding
from services.core.errors import InvalidInput
from services.core.tasks import ANSWER_INSTRUCTION, ANSWER_TEMPLATE, Task

SAMPLED = Decoding(temperature=1.0, max_new_tokens=96)
"""The paper leaves PA's decoding open. Asked greedily, a small teacher puts the same question to every image."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to run PA, PI and PL. Templates hold "{question}"."""

    name: str
    questions_per_image: int = 1
    annotation_decoding: Decoding = SAMPLED
    answer_decoding: Decoding = GREEDY
    answer_template: str = ANSWER_TEMPLATE
    training_template: str = ANSWER_TEMPLATE
    scaffold: bool = True
    """Send the annotation prompt as printed in Appendix D; False: indented and without its last line."""
    matcher: str = ""
    """Overrides the task's matcher."""
    student_matcher: str = ""
    """Judges the student, where it is not the one for the teacher (docs/decisions/two-matchers.md)."""
    rehearsal_ratio: float = 0.0
    """Known samples for each gap sample."""
    held_out: float = 0.15
    """Share of the images kept out of training to judge the candidate on."""
    minimum_gap: int = 16
    """With fewer gap samples nothing is trained."""
    distinct_questions: bool = False
    """Each further question of an image is asked for knowing the earlier ones, and their near-duplicates are collapsed."""
    max_per_kind: int = 0
    """Questions of one kind that an image keeps; 0: all."""
    max_share_per_kind: float = 1.0
    """Of the gap samples, and of the known ones."""
    samples: int = 0
    """How often each teacher is asked again about every record that is chosen for training."""
    sample_temperature: float = 0.7
    min_agreement: float = 0.0
    """Share of those answers that match the annotation's, below which a record is not trained on."""
    loss: str = ""
    """"token" averages over the batch's answer tokens, "sample" sums over an answer's tokens and averages over samples
    (Eq. 3); "" leaves the choice to the student's preset."""

    def __post_init__(self) -> None:
        if self.min_agreement and not self.samples:
            raise InvalidInput(
                "an agreement is measured on samples: give their number too (--samples)",
                field="min_agreement",
            )

    def of_task(self, task: Task) -> Recipe:
        """This recipe with the task's own way of asking, where it has one (a caption is no single word).

        A task with one question for all images is asked it once about each: again, it would be a duplicate.
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
        """The task prompt T_pr as this recipe sends it."""
        if self.scaffold:
            return task.annotation_prompt
        lines = [
            line
            for line in task.annotation_prompt.splitlines()
            if not line.startswith("Assistant:")
        ]
        return "\n" + "\n".join(" " * 16 + line if line else line for line in lines)

    def sample_decoding(self, seed: int) -> Decoding:
        """As answers are asked for, but sampled."""
        return replace(
            self.answer_decoding, temperature=self.sample_temperature, top_p=1.0, seed=seed
        )


@dataclass(frozen=True, slots=True)
class Amendments:
    """Parts of a recipe that a run sets for itself; None leaves the recipe's."""

    questions_per_image: int | None = None
    distinct_questions: bool | None = None
    max_per_kind: int | None = None
    max_share_per_kind: float | None = None
    samples: int | None = None
    sample_temperature: float | None = None
    min_agreement: float | None = None
    loss: str | None = None

    def of(self, recipe: Recipe) -> Recipe:
        """Raises InvalidInput where the parts don't go together."""
        return replace(
            recipe, **{name: value for name, value in asdict(self).items() if value is not None}
        )


AS_IT_IS = Amendments()

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
    )
}
