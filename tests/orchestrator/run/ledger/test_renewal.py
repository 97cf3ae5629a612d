"""A catalogue that was renewed bit by bit is the same as one that was made at once."""

import random
from contextlib import closing

import pytest

from services.core.annotation import Rejection
from services.core.errors import Cancelled
from services.core.parity import Cell
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.ledger.browsing import count
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.ledger.facets import MOST_KINDS, RARE, EntryChoice, Facet
from services.orchestrator.run.ledger.renewal import renew
from services.orchestrator.run.ledger.schema import IMAGES_ON_A_SHELF
from services.orchestrator.run.ledger.shelves import READ_AT_ONCE, RoundVersions, read_shelf

VERSIONS = RoundVersions("v1", "v2")
REASONS = (Rejection.LOW_AGREEMENT, Rejection.STUDENT_ERROR, Rejection.TEACHER_ERROR)
SEARCHED = ("what", "red", "blue", "png")


def renewed(catalogue, ledger, versions=VERSIONS):
    """Number of shelves that were put in again."""
    steps = list(renew(catalogue, ledger, versions))
    return steps[0][1] - steps[0][0]


def contents(catalogue):
    counted = {word: count(catalogue, EntryChoice(text=word)) for word in ("", *SEARCHED)}
    entries = "SELECT shelf, image, number, attempt FROM entries ORDER BY 1, 2, 3, 4"
    texts = "SELECT words FROM texts JOIN entries ON id = texts.rowid ORDER BY words"
    return counted, list(catalogue.read(entries)), list(catalogue.read(texts))


def grow(ledger, drawn, images):
    """One thing that a run does, drawn at random."""
    new = f"{len(images):064x}"
    choice = drawn.randrange(6)
    if choice == 0 or not images:
        ledger.add_image(ImageRow(f"{new}.png", new, held_out=drawn.random() < 0.5))
        row = AnnotationRow(new, 0, 0, "", f"what {len(images)}?", "red", "", 1, "t")
        ledger.add_annotation(row)
        images.append(row)
        return
    row = drawn.choice(images)
    if choice == 1:
        ledger.add_answer(
            AnswerRow(row.image_sha256, row.question, "student", "v1", "blue", "c", "identify")
        )
        ledger.add_record(row.image_sha256, 0, drawn.choice(list(Cell)), "exact@1")
    elif choice == 2:
        ledger.reject(row, drawn.choice(REASONS))
    elif choice == 3:
        ledger.add_image(ImageRow(f"{new}-{drawn.random()}.png", "", "IMAGE_UNREADABLE"))
    elif choice == 4:
        for role, version in (("before", "v1"), ("after", "v2")):
            score = drawn.choice((0.0, 1.0))
            asked = ("held_out", row.image_sha256, row.question)
            ledger.add_score(*asked, role, version, "what", score)
    else:
        ledger.reject_image(f"{row.image_sha256}.png", "leak", "")


@pytest.mark.parametrize("seed", range(4))
def test_renewing_bit_by_bit_ends_like_making_it_at_once(tmp_path, seed):
    drawn, images = random.Random(seed), []
    with (
        closing(Ledger(tmp_path / "ledger.sqlite")) as ledger,
        closing(Catalogue(tmp_path / "grown.sqlite")) as grown,
    ):
        for turn in range(12):
            for _ in range(8):
                grow(ledger, drawn, images)
            renewed(grown, ledger)
            with closing(Catalogue(tmp_path / f"{turn}.sqlite")) as whole:
                renewed(whole, ledger)
                assert contents(grown) == contents(whole)


def test_only_changed_shelves_are_read_and_ids_stay(tmp_path):
    with (
        closing(Ledger(tmp_path / "ledger.sqlite")) as ledger,
        closing(Catalogue(tmp_path / "catalogue.sqlite")) as catalogue,
    ):
        with ledger.at_once():
            for number in range(2 * IMAGES_ON_A_SHELF + 1):
                name = f"{number:064x}"
                ledger.add_image(ImageRow(f"{name}.png", name))
                ledger.add_annotation(
                    AnnotationRow(name, 0, 0, "", f"what {number}?", "red", "", 1, "t")
                )
        assert renewed(catalogue, ledger) == 4  # three shelves, and that of refused images
        assert renewed(catalogue, ledger) == 0
        ids = "SELECT id, image FROM entries ORDER BY id"
        before = list(catalogue.read(ids))
        ledger.add_record(f"{0:064x}", 0, Cell.GAP, "exact@1")
        assert renewed(catalogue, ledger) == 1
        assert list(catalogue.read(ids)) == before
        assert renewed(catalogue, ledger, RoundVersions("v2", "")) == 3
        ledger.begin_round(2)
        assert renewed(catalogue, ledger) == 3
        assert Cell.GAP not in count(catalogue).facets[Facet.CELL]


def fill_one_shelf(ledger, entries):
    ledger.add_image(ImageRow("a.png", "a" * 64))
    with ledger.at_once():
        for number in range(entries):
            row = AnnotationRow("a" * 64, number % 7, number // 7, "", "what?", "red", "", 1, "t")
            ledger.add_annotation(row)


def test_a_long_shelf_is_read_whole_and_holds_up_no_checkpoint(tmp_path):
    with (
        closing(Ledger(tmp_path / "ledger.sqlite")) as ledger,
        closing(Ledger(tmp_path / "ledger.sqlite", read_only=True)) as reader,
    ):
        fill_one_shelf(ledger, 2 * READ_AT_ONCE + 1)
        seen = []
        for entry in read_shelf(reader, 0, VERSIONS, lambda: False):
            seen.append((entry.image, entry.number, entry.attempt))
            if len(seen) % READ_AT_ONCE == 1:
                ledger.set_meta("key", str(len(seen)))
                ((is_busy, _, _),) = ledger.read("PRAGMA wal_checkpoint(TRUNCATE)")
                assert not is_busy
    assert len(seen) == 2 * READ_AT_ONCE + 1
    assert seen == sorted(set(seen))


def test_a_long_shelf_is_given_up_at_the_end_of_the_explorer(tmp_path):
    with (
        closing(Ledger(tmp_path / "ledger.sqlite")) as ledger,
        closing(Catalogue(tmp_path / "catalogue.sqlite")) as catalogue,
    ):
        fill_one_shelf(ledger, READ_AT_ONCE + 1)
        with pytest.raises(Cancelled):
            list(renew(catalogue, ledger, VERSIONS, lambda: True))
        assert count(catalogue).entries == 0


def test_kinds_beyond_the_bound_are_counted_together(tmp_path):
    with (
        closing(Ledger(tmp_path / "ledger.sqlite")) as ledger,
        closing(Catalogue(tmp_path / "catalogue.sqlite")) as catalogue,
    ):
        ledger.add_image(ImageRow("a.png", "a" * 64))
        with ledger.at_once():
            for number in range(MOST_KINDS + 5):
                ledger.add_annotation(
                    AnnotationRow("a" * 64, number, 0, "", f"w{number} x?", "red", "", 1, "t")
                )
        renewed(catalogue, ledger)
        kinds = count(catalogue).facets[Facet.KIND]
    assert (len(kinds), kinds[RARE]) == (MOST_KINDS + 1, 5)
