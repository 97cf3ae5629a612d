import pytest

from services.core.answers import MATCHERS, parse_number


@pytest.mark.parametrize(
    ("matcher", "prediction", "reference", "equal"),
    [
        ("exact", "The Red.", "red", True),
        ("exact", "red car", "red", False),
        ("exact", "two", "2", True),
        ("exact", "", "", False),
        ("contains", "it is Red", "red", True),
        ("contains", "red", "it is red", False),
        ("contains", "15", "5", True),
        ("contains", "anything", "$", False),
        ("numeric", "15", "5", False),
        ("numeric", "-3", "3", False),
        ("numeric", "6.8", "68", False),
        ("numeric", "50 %", "50%", True),
        ("numeric", "50", "50%", False),
        ("numeric", "1,000", "1000", True),
        ("numeric", "ten", "10", True),
        ("numeric", "$5", "€5", False),
        ("numeric", "blue", "Blue", True),
        ("numeric", "5 apples", "5", False),
        ("anls", "Starbuks", "starbucks", True),
        ("anls", "coffee", "starbucks", False),
        ("anls", "   ", "", False),
        ("word", "stop!", "STOP", True),
        ("word", "stop sign", "STOP", False),
        ("word", "&", "!", False),
        ("word", "мир", "привет", False),
        ("caption", "A red sign says stop.", "a red stop sign", True),
        ("caption", "a bus in the street", "a red stop sign", False),
    ],
)
def test_matchers(matcher, prediction, reference, equal):
    assert MATCHERS[matcher].matches(prediction, reference) is equal


@pytest.mark.parametrize("matcher", MATCHERS)
def test_nothing_matches_an_empty_answer(matcher):
    assert not MATCHERS[matcher].matches("", "red")
    assert not MATCHERS[matcher].matches("red", "  ")


def test_identity_names_the_version():
    assert MATCHERS["exact"].identity == "exact@1"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-3.5", (-3.5, "")),
        ("$1,200.50", (1200.5, "$")),
        ("12%", (12.0, "%")),
        ("a dozen", None),
        ("", None),
        ("1,00", None),
    ],
)
def test_parse_number(text, number):
    assert parse_number(text) == number
