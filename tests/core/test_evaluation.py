import pytest

from services.core.evaluation import (
    Judgement,
    bootstrap,
    compare,
    mcnemar_p,
    question_kind,
    should_promote,
)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is there a cat?", "yes/no"),
        ("does the image not contain a red shape?", "yes/no"),
        ("How many birds?", "how many"),
        ("what color is the shape?", "what color"),
        ("what is the color of the circle?", "what color"),
        ("what is the blue shape?", "what is"),
        ("Which brand is it?", "which brand"),
        ("???", "other"),
    ],
)
def test_question_kind(question, kind):
    assert question_kind(question) == kind


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 1024), (9, 1, 22 / 1024), (1, 0, 1.0)],
)
def test_mcnemar_is_the_exact_binomial(fixed, broken, p):
    assert mcnemar_p(fixed, broken) == pytest.approx(p)
    assert mcnemar_p(broken, fixed) == pytest.approx(p)


def _rows(kind, *, fixed=0, broken=0, right=0, wrong=0):
    pairs = (
        [(0.0, 1.0)] * fixed + [(1.0, 0.0)] * broken + [(1.0, 1.0)] * right + [(0.0, 0.0)] * wrong
    )
    return [Judgement(kind, before, after) for before, after in pairs]


def test_compare_counts_by_kind():
    comparison = compare(_rows("a", fixed=6, right=4) + _rows("b", broken=2, right=8))
    assert comparison.overall.questions == 20
    assert comparison.overall.before == pytest.approx(0.7)
    assert comparison.overall.after == pytest.approx(0.9)
    assert (comparison.kinds["a"].fixed, comparison.kinds["b"].broken) == (6, 2)


@pytest.mark.parametrize(
    ("rows", "promote", "why"),
    [
        (_rows("a", fixed=20, broken=2, right=50), True, "better"),
        (_rows("a", fixed=2, broken=20, right=50), False, "not better"),
        (_rows("a", fixed=5, broken=5), False, "not better"),
        (_rows("a", fixed=40) + _rows("b", fixed=1, broken=3, right=40), False, 'kind "b"'),
        (_rows("a", fixed=40) + _rows("b", broken=1, right=98), False, 'kind "b"'),
        (_rows("a", fixed=40) + _rows("b", broken=1, right=99), True, "better"),
        (_rows("a", fixed=40) + _rows("b", broken=2, right=98), False, 'kind "b"'),
        (_rows("a", fixed=3, broken=1, right=50), False, "chance"),
        ([], False, "nothing held out"),
    ],
)
def test_should_promote(rows, promote, why):
    decision = should_promote(compare(rows))
    assert decision.promote is promote
    assert promote or why in decision.reason


def test_the_interval_of_a_mean_is_drawn_by_group():
    scores = [(str(n), float(n % 4 == 0)) for n in range(400)]
    found = bootstrap(scores)
    assert found == bootstrap(scores)
    assert found.low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.006)
    assert found.high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.006)
    # Ten questions about each of 40 images that stand and fall together tell no more than 40 questions.
    together = bootstrap([(str(n // 10), float(n // 10 % 4 == 0)) for n in range(400)])
    assert together.high - together.low > 2.5 * (found.high - found.low)
    assert bootstrap([]).low == bootstrap([]).high == 0.0
