"""The row asks for views that exist and find something; speed is for `make bench` to measure."""

import random

from benchmarks.explored_run import fill, review
from benchmarks.explorer import addresses, ask
from tests.orchestrator.ui.exhibits import serving, until_counted


def test_every_view_of_the_row_finds_its_records(tmp_path):
    fill(tmp_path / "runs" / "run", 2000)
    review(tmp_path / "runs" / "run")
    with serving(tmp_path / "runs") as client:
        assert until_counted(client, "run")["records"] == 1900
        views = addresses(client, random.Random(1), 2000)
        for view, address in views.items():
            document = client.get(address if ".json" in address else with_json(address)).json()
            if "found" in document and view != "no such word":
                assert document["found"], address
        assert client.get("/runs/run/reviews.json").json()["reviewers"] == {"Ann": 95, "Bob": 95}
        assert {view: len(taken) for view, taken in ask(client, 2000, 1).items()} == dict.fromkeys(
            views, 1
        )


def with_json(address):
    path, mark, query = address.partition("?")
    return f"{path}.json{mark}{query}"
