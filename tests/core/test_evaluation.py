import pytest

from services.core.evaluation import Judgement, compare, should_promote


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
        ([], False, "no held-out questions"),
    ],
)
def test_should_promote(rows, promote, why):
    decision = should_promote(compare(rows))
    assert decision.promote is promote
    assert promote or why in decision.reason
