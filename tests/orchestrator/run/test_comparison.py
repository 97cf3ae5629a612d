from services.orchestrator.run.comparison import compare_runs
from services.orchestrator.run.run import read_run
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
