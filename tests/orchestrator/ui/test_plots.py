"""Pictures are well-formed, have their numbers as text, and are absent where nothing is known."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from services.core.reliability import NO_ANSWERS, reliability
from services.orchestrator.ui.overview import JudgedLine
from services.orchestrator.ui.plots import (
    draw_changes,
    draw_gains,
    draw_losses,
    draw_reliability,
)

ALL = JudgedLine("all", 100, 0.40, 0.70, None, 35, 5)
WORSE = JudgedLine("how many", 20, 0.80, 0.60, 0.9, 1, 5)
HOSTILE = JudgedLine('<script>"&\u202e' + "x" * 90, 30, 0.5, 0.5, None, 0, 0)


def of_class(svg, name):
    return [e.attrib for e in ElementTree.fromstring(svg).iter() if e.get("class") == name]


def said(svg):
    element = ElementTree.fromstring(svg)
    assert element.get("role") == "img"
    return element.get("aria-label")


def test_changes_are_drawn_from_before_to_after_with_the_teacher():
    svg = draw_changes([ALL, WORSE])
    rings, better, worse = (of_class(svg, name) for name in ("before", "better", "worse"))
    assert (len(rings), len(better), len(worse)) == (2, 1, 1)
    assert float(rings[0]["cx"]) < float(better[0]["cx"])
    assert float(rings[1]["cx"]) > float(worse[0]["cx"])
    (teacher,) = of_class(svg, "teacher")
    assert float(teacher["x1"]) > float(rings[1]["cx"])
    assert "all 40.0% before, 70.0% after; how many 80.0% before" in said(svg)
    assert "teacher 90.0%" in said(svg)


def test_gains_have_intervals_and_a_line_at_zero():
    svg = draw_gains([ALL, WORSE])
    (zero,) = of_class(svg, "zero")
    spans = [(float(span["x1"]), float(span["x2"])) for span in of_class(svg, "span")]
    assert spans[0][0] > float(zero["x1"]), "a gain beyond chance"
    assert spans[1][0] < float(zero["x1"]) < spans[1][1], "a loss that may be chance"
    assert "all +30.0 (" in said(svg)
    assert "how many -20.0 (" in said(svg)


def test_a_curve_goes_down_with_the_loss():
    points = [(step, 3.0 / (1 + step)) for step in range(0, 200, 2)]
    svg = draw_losses(points)
    (curve,) = of_class(svg, "curve")
    drawn = [tuple(map(float, pair.split(","))) for pair in curve["points"].split()]
    assert len(drawn) == len(points)
    assert all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(drawn))
    assert "step 0 3.000" in said(svg)
    assert "step 198 0.015" in said(svg)
    assert said(svg).count("step ") <= 22


def test_a_student_that_is_too_sure_is_below_the_diagonal():
    before = reliability([(0.95, serial < 40) for serial in range(100)])
    after = reliability([(0.95, serial < 95) for serial in range(100)])
    svg = draw_reliability(before, after)
    (ring,), (dot,), (ideal,) = (of_class(svg, name) for name in ("before", "better", "ideal"))
    assert float(ring["cx"]) == float(dot["cx"])
    assert float(ring["cy"]) > float(dot["cy"]), "up is right more often"
    (interval,) = of_class(svg, "of-before")
    assert float(interval["y1"]) > float(ring["cy"]) > float(interval["y2"])
    assert float(ideal["x1"]) < float(dot["cx"]) < float(ideal["x2"])
    assert "Before: 95.0% sure, 40.0% right (30.9% to 49.8%, 100 answers)" in said(svg)
    assert "After: not kept" in said(draw_reliability(before, NO_ANSWERS))
    assert draw_reliability(NO_ANSWERS, NO_ANSWERS) == ""


@pytest.mark.parametrize("draw", [draw_changes, draw_gains])
def test_there_is_no_picture_of_nothing(draw):
    assert draw([]) == ""
    assert draw([JudgedLine("all", 0, 0.0, 0.0, None, 0, 0)]) == ""
    assert draw_losses([]) == draw_losses([(1, 0.5)]) == ""
    assert ElementTree.fromstring(draw_losses([(1, 0.0), (2, 0.0)])) is not None


@pytest.mark.parametrize("draw", [draw_changes, draw_gains])
def test_names_of_kinds_stay_texts_and_the_rarest_are_left_out(draw):
    many = [JudgedLine(f"kind {n}", 40 - n, 0.1, 0.2, None, 4, 0) for n in range(40)]
    svg = draw([ALL, HOSTILE, *many])
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.text]
    assert "all" in texts
    assert "kind 0" in texts
    assert "kind 39" not in texts
    assert any(text.startswith('<script>"&') and len(text) < 30 for text in texts)


def test_every_color_is_a_class_of_the_page():
    known = reliability([(0.5, True)])
    for svg in (
        draw_changes([ALL, WORSE]),
        draw_gains([ALL]),
        draw_losses([(1, 2.0), (2, 1.0)]),
        draw_reliability(known, known),
    ):
        assert "fill=" not in svg
        assert "style=" not in svg
        assert "#" not in svg
