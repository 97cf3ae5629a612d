"""Raters' files: merged, measured, and refused if they are wrong."""

import json

import pytest

from services.core.intervals import wilson
from tests.orchestrator.audit.conftest import fill_in, invoke, key


def told(folder, *raters):
    return json.loads(invoke("audit", "report", folder, *raters, "--json"))


def truthful(folder):
    """A rater for whom every annotation after PI is good, and no other."""
    items = key(folder)["items"]

    def choose(item, question):
        is_good = "after" in items[item["id"]]["arms"]
        return question["choices"][0 if is_good else 1]["value"]

    return choose


def first(item, question):
    return question["choices"][0]["value"]


@pytest.fixture
def audit(draw):
    return draw("--items", 20)


def test_the_four_figures_before_and_after(audit):
    found = told(audit, fill_in(audit, "ann", truthful(audit)))
    items, populations = key(audit)["items"].values(), key(audit)["populations"]
    both = sum(len(item["arms"]) == 2 for item in items)
    assert list(found["measures"]) == ["answerable", "correct", "relevant", "author"]
    for measured in found["measures"].values():
        assert measured["after"]["expected"] == 1.0
        expected = wilson(both, 20, populations["before"])
        assert measured["before"] == {
            "expected": expected.expected,
            "low": expected.low,
            "high": expected.high,
        }
        assert measured["change"]["expected"] == pytest.approx(1 - both / 20)
        assert measured["alpha"] is None  # of one rater


def test_several_raters_are_averaged_and_their_agreement_is_measured(audit):
    names = sorted(key(audit)["items"])
    half = set(names[: len(names) // 2])
    files = [
        fill_in(audit, "ann", first),
        fill_in(
            audit,
            "bob",
            lambda item, question: question["choices"][item["id"] not in half]["value"],
        ),
        fill_in(
            audit,
            "cyd",
            lambda item, question: question["choices"][item["id"] not in half]["value"],
        ),
    ]
    found = told(audit, *files)
    assert found["raters"] == ["ann", "bob", "cyd"]
    of_after = [name for name, item in key(audit)["items"].items() if "after" in item["arms"]]
    said = sum(3 if name in half else 1 for name in of_after) / 3
    assert found["measures"]["correct"]["after"]["expected"] == pytest.approx(said / 20)
    # By Krippendorff's definition: n items, k of them "yes" by all, the others 1 to 2.
    total, ones = 3 * len(names), 3 * len(half) + len(names) - len(half)
    observed = (len(names) - len(half)) * 4 / 2 / total
    chance = 2 * ones * (total - ones) / (total * (total - 1))
    assert found["measures"]["correct"]["alpha"] == pytest.approx(1 - observed / chance)


def test_raters_who_say_the_same_throughout_have_no_measurable_agreement(audit):
    found = told(audit, fill_in(audit, "ann", first), fill_in(audit, "bob", first))
    assert {measured["alpha"] for measured in found["measures"].values()} == {None}


def test_for_people(audit):
    said = invoke(
        "audit",
        "report",
        audit,
        fill_in(audit, "ann", truthful(audit)),
        fill_in(audit, "bob", truthful(audit)),
    )
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in said.splitlines()}
    assert rows["measure"] == ["before PI", "after PI", "change", "agreement"]
    assert rows["answer correctness (AC)"][1].startswith("100.0 (")
    assert rows["answer correctness (AC)"][3] == "1.00"
    assert "raters: ann, bob" in said
    assert "after PI: 20 items of" in said


def change(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    return path


def answers(path):
    return json.loads(path.read_text())["answers"]


def test_wrong_files_are_refused_by_file_and_item(audit, draw):
    def refused(*paths):
        return invoke("audit", "report", audit, *paths, code=1)

    ann = fill_in(audit, "ann", first)
    name, total = sorted(answers(ann))[3], len(answers(ann))
    good = answers(ann)

    change(ann, answers={**good, "999": good[name]})
    assert f"{ann}: there is no item '999' in this audit" in refused(ann)
    change(ann, answers={of: given for of, given in good.items() if of != name})
    assert f"{ann}: item {name} is not answered (1 of {total} are not)" in refused(ann)
    change(ann, answers={**good, name: {"answerable": "yes", "correct": "yes", "relevant": "yes"}})
    assert f'{ann}, item {name}: "author" is not answered' in refused(ann)
    change(ann, answers={**good, name: {**good[name], "correct": "maybe"}})
    assert f"{ann}, item {name}: \"correct\" is 'maybe', not one of yes, no" in refused(ann)
    change(ann, answers={**good, name: {**good[name], "nice": "yes"}})
    assert f"{ann}, item {name}: 'nice' was not asked" in refused(ann)
    change(ann, answers={**good, name: 1})
    assert f'{ann}.answers: "{name}" is a number, not an object' in refused(ann)
    change(ann, answers=good, audit="another")
    assert f"{ann} answers another audit (another) than the one in {audit}" in refused(ann)
    change(ann, audit=key(audit)["audit"], rater=" ")
    assert f'{ann}: "rater" is empty' in refused(ann)
    ann.write_text("{")
    assert f"{ann} is no file that the page saved" in refused(ann)
    ann.write_text("[]")
    assert f"{ann} is no file that the page saved" in refused(ann)
    assert "can't be read" in refused(audit / "none.json")


def test_two_files_of_one_rater_are_refused(audit):
    files = [fill_in(audit, "ann", first), fill_in(audit, "Ann ", first)]
    said = invoke("audit", "report", audit, *files, code=1)
    assert f"{files[0]} and {files[1]} are both by 'Ann': give one file per rater" in said


def test_a_file_of_another_draw_is_refused(audit, draw):
    other = draw("--items", 20, "--seed", 5, name="other")
    assert "answers another audit" in invoke(
        "audit", "report", audit, fill_in(other, "ann", first), code=1
    )


def test_a_key_that_is_none_is_told(tmp_path, audit):
    rater = fill_in(audit, "ann", first)
    assert "there is no audit in" in invoke("audit", "report", tmp_path, rater, code=1)
    for text in ("{", "[]", '{"version": 1}'):
        (audit / "key.json").write_text(text)
        assert "is no key of an audit" in invoke("audit", "report", audit, rater, code=1)
