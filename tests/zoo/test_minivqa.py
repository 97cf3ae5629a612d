"""The mini benchmark: pictures are reproducible, tests show unseen entities, answers score."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from services.core import metrics
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part
from zoo.minivqa.picture import SIDE
from zoo.minivqa.sources import FONTS, ICON_SETS, PHOTOGRAPHS
from zoo.minivqa.tables import COLUMNS

PICTURES = 12


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_picture_is_a_function_of_its_number(family, part):
    one, again, other = family.draw(part, 0, 3), family.draw(part, 0, 3), family.draw(part, 0, 4)
    assert one.image.size == (SIDE, SIDE)
    assert one.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert one.questions == again.questions


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_the_test_shows_nothing_that_was_seen(family):
    def drawn(part):
        pictures = [family.draw(part, 0, number) for number in range(PICTURES)]
        return {entity for picture in pictures for entity in picture.entities}, {
            q.text for p in pictures for q in p.questions
        }

    seen, asked = map(set.union, drawn(Part.POOL), drawn(Part.TRAINING))
    for part in (Part.TEST, Part.HARDER, Part.DEV, Part.FINAL):
        entities, questions = drawn(part)
        assert not entities & seen
        assert not questions & asked


@pytest.mark.parametrize(
    "split", [FONTS, ICON_SETS, PHOTOGRAPHS], ids=["fonts", "icons", "photographs"]
)
def test_no_entity_is_in_both_halves(split):
    assert not set(split.seen) & set(split.unseen)


def test_no_font_family_and_no_table_is_in_both_halves():
    def families(fonts):
        return {font.rpartition("/")[2].partition("-")[0].partition(".")[0] for font in fonts}

    assert not families(FONTS.seen) & families(FONTS.unseen)
    assert not {column.table for column in COLUMNS.seen} & {
        column.table for column in COLUMNS.unseen
    }


@pytest.mark.parametrize("part", [Part.TRAINING, Part.TEST])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_the_answer_that_is_taught_scores_one(family, part):
    score = getattr(metrics, family.metric)
    for number in range(PICTURES):
        for question in family.draw(part, 0, number).questions:
            assert score(question.answer, question.references) == 1.0, question


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_every_question_asks_for_a_fact_and_no_wording_for_two(family, part):
    for number in range(PICTURES):
        picture = family.draw(part, 0, number)
        wordings = [
            text
            for fact in picture.facts
            for half in (fact.wordings.seen, fact.wordings.unseen)
            for text in half
        ]
        assert len(wordings) == len(set(wordings))
        for question in picture.questions:
            assert picture.find_fact(question.text.capitalize()).answer == question.answer
        assert picture.find_fact("who took the picture?") is None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_what_is_marked_is_in_the_picture(family):
    for number in range(PICTURES):
        picture = family.draw(Part.TRAINING, 0, number)
        assert picture.marks
        for mark in picture.marks:
            across, down = (mark.left + mark.right) / 2, (mark.top + mark.bottom) / 2
            assert 0 < across < SIDE
            assert 0 < down < SIDE
        said = {question.answer for question in picture.questions}
        letters = "".join(mark.name.lower() for mark in picture.marks if len(mark.name) == 1)
        assert not letters or any(answer in letters for answer in said)


def _asked(family, number):
    return FAMILIES[family].draw(Part.TRAINING, 0, number).questions


def test_it_is_built_by_one_command_and_taken_up_again(tmp_path):
    command = [sys.executable, "-m", "zoo.minivqa", "build", str(tmp_path / "mini")]
    command += ["--pool", "2", "--labels", "2", "--test", "3", "--draws", "5", "--anchors", "4"]
    subprocess.run(command, check=True, capture_output=True)
    whole = {path: path.read_bytes() for path in (tmp_path / "mini").rglob("*") if path.is_file()}
    lost = tmp_path / "mini" / "charts" / "pool" / "00001.png"
    lost.unlink()
    subprocess.run(command, check=True, capture_output=True)
    assert lost.read_bytes() == whole[lost]
    for family in FAMILIES:
        for part, least in (("test", 3), ("harder", 3), ("dev", 5), ("final", 5), ("labels", 2)):
            rows = [
                json.loads(line)
                for line in (tmp_path / "mini" / family / f"{part}.jsonl").read_text().splitlines()
            ]
            assert len(rows) >= least
            assert all((tmp_path / "mini" / family / row["image"]).is_file() for row in rows)
        questions = (tmp_path / "mini" / family / "anchors.txt").read_text().splitlines()
        own = {one.text for number in range(4) for one in _asked(family, number)}
        assert questions
        assert not own & {*questions}, "those of other families"
    pool = tmp_path / "mini" / "knowledge" / "pool" / "00000.png"
    pool.write_bytes((tmp_path / "mini" / "knowledge" / "final" / "00000.png").read_bytes())
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "is the same picture as" in refused.stderr


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_the_draws_are_alike_and_share_no_picture_and_no_question_about_one(family):
    def drawn(part):
        pictures = [family.draw(part, 0, number) for number in range(4 * PICTURES)]
        asked = {(hash(p.image.tobytes()), q.text) for p in pictures for q in p.questions}
        return asked, Counter(q.kind for p in pictures for q in p.questions)

    dev, final, test, pool = map(drawn, (Part.DEV, Part.FINAL, Part.TEST, Part.POOL))
    together = set.union(dev[0], final[0], test[0], pool[0])
    assert len(together) == sum(len(asked) for asked, _ in (dev, final, test, pool))
    for kind, count in dev[1].items():
        assert count == pytest.approx(final[1][kind], rel=0.5, abs=10)
