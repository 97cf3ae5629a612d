from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import InvalidInput, WrongState
from services.core.recipes import RECIPES
from services.orchestrator.run.settings import Settings, new_settings, require_same


@pytest.mark.parametrize("recipe", RECIPES)
def test_settings_survive_the_ledger(recipe):
    settings = new_settings("images", "okvqa", recipe, limit=3, seed=7)
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("task", "recipe", "matcher", "identity"),
    [
        ("vqa", "paper", "", "exact@1"),
        ("chartqa", "paper", "", "numeric@1"),
        ("chartqa", "authors", "", "contains@1"),
        ("chartqa", "authors", "anls", "anls@1"),
    ],
)
def test_the_matcher_is_the_one_named_else_the_recipes_else_the_tasks(
    task, recipe, matcher, identity
):
    assert new_settings("images", task, recipe, matcher).matcher == identity


@pytest.mark.parametrize("wrong", [{"task": "vqb"}, {"recipe": "none"}, {"matcher": "fuzzy"}])
def test_a_wrong_name_is_told_with_the_right_ones(wrong):
    names = {"images": "images", "task": "vqa", "recipe": "paper", "matcher": ""}
    with pytest.raises(InvalidInput, match="choose one of"):
        new_settings(**{**names, **wrong})


def test_every_difference_is_named():
    settings = new_settings("images", "vqa", "paper")
    other = replace(settings, task="okvqa", recipe=RECIPES["rehearsal"])
    with pytest.raises(
        WrongState, match=r"task: vqa there, okvqa now; recipe: paper there, rehearsal now"
    ):
        require_same(settings, other, Path("run"))
    require_same(settings, settings, Path("run"))


def test_each_question_has_a_seed_of_its_own_and_always_the_same():
    settings = new_settings("images", "vqa", "rehearsal")
    names = [
        (image, number, attempt)
        for image in ("aa", "bb")
        for number in (0, 1)
        for attempt in (0, 1)
    ]
    seeds = [settings.annotation_decoding(*name).seed for name in names]
    assert len(set(seeds)) == len(names)
    assert seeds == [settings.annotation_decoding(*name).seed for name in names]
    assert seeds != [replace(settings, seed=1).annotation_decoding(*name).seed for name in names]
