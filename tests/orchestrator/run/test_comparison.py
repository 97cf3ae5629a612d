import hashlib
from contextlib import closing

from services.core.parity import Cell
from services.orchestrator.run.comparison import compare_runs
from services.orchestrator.run.ledger import AnnotationRow, ImageRow, Ledger
from services.orchestrator.run.run import read_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import State
from services.orchestrator.run.summary import summarise
from tests.orchestrator.run.runs import make, said, told
from tests.orchestrator.scripted import ScriptedStudent


async def test_two_runs_side_by_side(tmp_path, pool):
    """The second student knows more, and sees half of the images."""
    await make(tmp_path / "a", pool)
    await make(tmp_path / "b", pool, student=ScriptedStudent(skills={"v1": 0.55}), limit=60)
    with read_run(tmp_path / "a") as first, read_run(tmp_path / "b") as second:
        before, after = summarise(first.ledger), summarise(second.ledger)
        compared = compare_runs(first, second, limit=5, offset=2)
    assert compared.settings == {"limit": ("0", "60")}
    assert {cell: counts for cell, counts in compared.cells.items() if cell} == {
        cell: (before.cells[cell], after.cells[cell])
        for cell in ("gap", "noise_both_wrong", "unasked")
    }
    assert compared.cells[""] == (0, before.annotations - after.annotations)
    assert set(compared.changes) == {("gap", "unasked")}
    assert [(change.before, change.after) for change in compared.changed] == [
        ("gap", "unasked")
    ] * 5
    document = told("runs", "compare", tmp_path / "a", tmp_path / "b")
    moved = {(row["before"], row["after"]): row["count"] for row in document["moved"]}
    assert moved == compared.moved
    assert "gap -> unasked" in said("runs", "compare", tmp_path / "a", tmp_path / "b")


def test_records_meet_whatever_order_their_images_came_in(tmp_path):
    """Images of a ledger are on shelves of 512, in the order in which they came."""
    numbers = range(1100)
    fill(tmp_path / "a", numbers, Cell.GAP)
    fill(tmp_path / "b", reversed(numbers), Cell.KNOWN)
    with read_run(tmp_path / "a") as first, read_run(tmp_path / "b") as second:
        compared = compare_runs(first, second, limit=1, offset=0)
    assert compared.moved == {("gap", "known"): 1100}


def fill(folder, numbers, cell):
    folder.mkdir()
    with closing(Ledger(folder / "ledger.sqlite")) as ledger, ledger.at_once():
        state = State(ledger)
        state.id, state.settings = folder.name, new_settings("pool", "vqa", "paper").to_json()
        for number in numbers:
            image = hashlib.sha256(str(number).encode()).hexdigest()
            ledger.add_image(ImageRow(f"{number}.png", image, step=2))
            ledger.add_annotation(AnnotationRow(image, 0, 0, "", "what?", "red", "", 1, "t"))
            ledger.add_record(image, 0, cell, "exact@1")
