"""Names of recipes, with parts."""

import pytest

from services.core.errors import InvalidInput
from services.core.recipes import RECIPES, find_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_plain_name_is_the_recipe(name):
    assert find_recipe(name) == RECIPES[name]


def test_parts_change_the_training_and_nothing_else():
    found = find_recipe("filtered+weight-2+tower-0+epochs-4+rate-1e-5")
    assert found.name == "filtered+weight-2+tower-0+epochs-4+rate-1e-5"
    assert (found.gap_weight, found.tower_rate, found.settings) == (2.0, 0.0, (4, 1e-5, None))
    plain = RECIPES["filtered"]
    assert found.rehearsal_ratio is plain.rehearsal_ratio is None
    assert (found.questions_per_image, found.held_out) == (
        plain.questions_per_image,
        plain.held_out,
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("best", "no recipe 'best': choose one of paper, authors"),
        ("filtered+", "wrong part: write .emphasis-R"),
        ("filtered+epochs-4+weight-2", "in this order"),
        ("filtered+epochs-99999999999", "a whole number from 1 to 1,000"),
        ("paper+weight-2", "nothing to emphasize: use filtered or rehearsal$"),
        ("filtered+narrow+tower-0", "give one of .narrow and .tower-X"),
    ],
)
def test_a_wrong_name_is_refused_in_words_of_recipes(name, complaint):
    with pytest.raises(InvalidInput, match=complaint) as no:
        find_recipe(name)
    assert no.value.field == "recipe"
