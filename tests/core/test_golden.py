"""Every prompt and choice of every recipe, as text: a change of one word shows as a difference.

`python -m tests.core.test_golden` writes the files again.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from services.core.diversity import focused, told
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt
from services.orchestrator.run.settings import new_settings

FOLDER = Path(__file__).with_name("golden")
QUESTION = "what is {question} on the sign?"


def recipe_text(name: str) -> str:
    """Parts of a recipe and its prompts for each task."""
    parts = [
        f"recipe {name}",
        *(f"{key} = {value!r}" for key, value in asdict(RECIPES[name]).items()),
    ]
    return "\n".join([*parts, *(_of_task(name, task) for task in TASKS)]) + "\n"


def _of_task(recipe: str, name: str) -> str:
    task = TASKS[name]
    settings = new_settings("images", name, recipe)
    chosen = settings.recipe
    own = {key: value for key, value in asdict(task).items() if key != "annotation_prompt"}
    changed = {
        key: value for key, value in asdict(chosen).items() if value != asdict(RECIPES[recipe])[key]
    }
    return "\n".join(
        [
            f"\n======== {name} ========",
            *(f"task.{key} = {value!r}" for key, value in own.items()),
            *(f"recipe.{key} = {value!r}" for key, value in changed.items()),
            f"contract = {asdict(settings.contract)!r}",
            "---- the teacher annotates ----",
            chosen.annotation_prompt(task),
            "---- both models answer ----",
            answer_prompt(QUESTION, chosen.answer_template),
            "---- the student is trained ----",
            answer_prompt(QUESTION, chosen.training_template),
        ]
    )


def wishes_text() -> str:
    """Additions to an annotation prompt: earlier questions, and a wanted kind."""
    prompt = TASKS["vqa"].annotation_prompt
    return "\n".join(
        [
            "---- further questions ----",
            told(prompt, ["what color is the car?", "is it new?"]),
            "---- of a kind ----",
            focused(prompt, "what color"),
            "---- of the kind yes/no, knowing a question ----",
            focused(told(prompt, ["is it new?"]), "yes/no"),
            "",
        ]
    )


GOLDEN: dict[str, Callable[[], str]] = {
    **{f"{name}.txt": partial(recipe_text, name) for name in RECIPES},
    "wishes.txt": wishes_text,
}


@pytest.mark.parametrize("file", GOLDEN)
def test_prompts_and_recipes_are_the_golden_text(file):
    assert GOLDEN[file]() == (FOLDER / file).read_text()


def test_no_golden_text_is_left_over():
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN)


if __name__ == "__main__":
    for file, text in GOLDEN.items():
        (FOLDER / file).write_text(text())
