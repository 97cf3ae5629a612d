"""Options of align, annotate and quote on their way into the settings of a run."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from services.core.answers import MATCHERS
from services.core.recipes import RECIPES, Amendments
from services.orchestrator.cli.main import app
from services.orchestrator.cli.session import leak_check
from services.orchestrator.run.run import settings_of
from services.orchestrator.run.settings import Settings, new_settings

NOWHERE = ("--teacher", "127.0.0.1:1", "--student", "127.0.0.1:1", "--patience", "0")
DEFINING = """
    --limit 7 --near-duplicates 3 --questions 3 --distinct --max-per-kind 2 --guided
    --matcher contains --student-matcher anls --full-matrix --samples 4 --sample-temperature 0.9
    --min-agreement 0.5 --max-share-per-kind 0.4 --lora-rank 8 --loss sample --seed 5
""".split()
AMENDMENTS = Amendments(
    questions_per_image=3,
    distinct_questions=True,
    max_per_kind=2,
    max_share_per_kind=0.4,
    samples=4,
    sample_temperature=0.9,
    min_agreement=0.5,
    loss="sample",
)


def stored(folder, images, *arguments) -> Settings | None:
    """Settings of the run that a command has begun, before it found its services unreachable."""
    command, *options = arguments
    asked = [command, str(images), "--task", "vqa", "--recipe", "authors", "--run", str(folder)]
    result = CliRunner().invoke(app, [*asked, *options])
    assert result.exit_code == 1, result.output
    assert "127.0.0.1:1" in result.output
    return settings_of(folder)


def expected(images, leaks) -> Settings:
    chosen = new_settings(
        str(images),
        "vqa",
        "authors",
        matcher="contains",
        student_matcher="anls",
        limit=7,
        full_matrix=True,
        guided=True,
        seed=5,
        lora_rank=8,
        amendments=AMENDMENTS,
    )
    leaks_checked = leak_check([str(leaks)])
    return replace(chosen, near_duplicates=3, leak_check=leaks_checked)


@pytest.mark.parametrize(
    ("command", "of_the_command", "changes"),
    [
        (
            "annotate",
            ("--teacher", "127.0.0.1:1", "--patience", "0", "--max-pixels", "90000"),
            {"max_pixels": 90_000},
        ),
        # Any other number of pixels is rounded to the sides that the student states.
        ("quote", (*NOWHERE, "--max-pixels", "0"), {"pilot": True}),
        (
            "align",
            (*NOWHERE, "--redo-rejected", "--focus", "--max-pixels", "0"),
            {"redo_rejected": True, "focus": True},
        ),
    ],
)
def test_every_option_reaches_the_settings_of_the_run(
    tmp_path, pool, command, of_the_command, changes
):
    options = (*of_the_command, *DEFINING, "--leak-check", str(tmp_path))
    found = stored(tmp_path / "run", pool, command, *options)
    assert found == replace(expected(pool, tmp_path), **changes)


@pytest.mark.parametrize("command", ["align", "quote"])
def test_without_options_the_settings_are_those_of_the_recipe(tmp_path, pool, command):
    found = stored(tmp_path / "run", pool, command, *NOWHERE, "--max-pixels", "0")
    assert found == replace(new_settings(str(pool), "vqa", "authors"), pilot=command == "quote")
    assert (found.recipe, found.the_matcher) == (RECIPES["authors"], MATCHERS["contains"])
