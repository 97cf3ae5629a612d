"""The pages that the row reads have records; speed is for `make bench` to measure."""

from benchmarks.ledger_page import PAGE, PAGES, fill, first_page
from services.orchestrator.run.listing import list_runs


def test_every_page_of_the_row_finds_its_records(tmp_path):
    fill(tmp_path / "run", 1000)
    found = {name: first_page(tmp_path / "run", chosen) for name, chosen in PAGES.items()}
    assert found.pop("show --question zebra") == 0
    assert set(found.values()) == {PAGE}
    (line,) = list_runs(tmp_path)
    assert (line.images, line.state) == (1000, "unfinished")
