from dataclasses import replace

import pytest

from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.errors import InvalidInput

BASE = Contract(
    system_prompt="Be brief.",
    chat_template_sha256="c" * 64,
    processor_sha256="a" * 64,
    pixel_budget='{"size": 1}',
)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"answer_template": "Answer."}, "contract.answer_template"),
        ({"answer_template": "{question} {question}"}, "contract.answer_template"),
        ({"training_template": ""}, "contract.training_template"),
        ({"normaliser": "exact"}, "contract.normaliser"),
        ({"normaliser": "exact@2"}, "contract.normaliser"),
        ({"normaliser": "fuzzy@1"}, "contract.normaliser"),
        ({"temperature": -0.1}, "contract.decoding.temperature"),
        ({"temperature": float("nan")}, "contract.decoding.temperature"),
        ({"top_p": 1.1}, "contract.decoding.top_p"),
        ({"max_new_tokens": -1}, "contract.decoding.max_new_tokens"),
        ({"max_new_tokens": 10**6}, "contract.decoding.max_new_tokens"),
        ({"system_prompt": "Be long."}, "contract.system_prompt"),
        ({"chat_template_sha256": "d" * 64}, "contract.chat_template_sha256"),
        ({"processor_sha256": "b" * 64}, "contract.processor_sha256"),
        ({"pixel_budget": '{"size": 2}'}, "contract.pixel_budget"),
    ],
)
def test_a_part_that_cannot_be_served_is_refused_by_name(changes, field):
    BASE.require_trainable_from(BASE)
    with pytest.raises(InvalidInput) as refused:
        replace(BASE, **changes).require_trainable_from(BASE)
    assert refused.value.field == field


def test_a_recipe_may_change_the_words_the_decoding_and_the_rule():
    changed = replace(
        BASE,
        answer_template="{question}",
        temperature=0.01,
        top_p=0.001,
        max_new_tokens=64,
        normaliser="anls@1",
    )
    changed.require_trainable_from(BASE)
    assert changed.decoding == Decoding(0.01, 0.001, 64)
    assert changed.differences(changed) == []
    assert [part.partition(":")[0] for part in changed.differences(BASE)] == [
        *("answer_template", "temperature", "top_p", "max_new_tokens", "normaliser")
    ]
    assert replace(BASE, training_template="{question}").differences(BASE) == [], (
        "it decides no answer"
    )
