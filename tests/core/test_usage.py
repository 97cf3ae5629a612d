import pytest

from services.core.usage import Tariff

GPT_4O = Tariff(2.5, 10.0, image_tokens=1445)


def test_no_call_costs_more_than_its_bound():
    text = "Answer the following question in a single word or phrase.\nwhat is it?"
    dearest = (1445 + len(text) + 50) * 2.5 / 1e6 + 32 * 10 / 1e6
    assert GPT_4O.bound_usd(text, 32) == pytest.approx(2 * dearest)
    accented, plain = GPT_4O.bound_usd("é" * 100, 0), GPT_4O.bound_usd("e" * 100, 0)
    assert accented is not None
    assert plain is not None
    assert accented > plain, "a token is a byte at least, not a letter"


def test_there_is_none_where_nobody_knows_what_an_image_takes():
    assert Tariff(2.5, 10.0).bound_usd("what?", 32) is None
