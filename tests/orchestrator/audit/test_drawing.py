"""The draw: seeded, blind, whole, with a report of missing items."""

import base64
import io
import json
from collections import Counter
from itertools import pairwise

from PIL import Image

from services.core.tasks import TASKS
from services.orchestrator.audit.criteria import TASKS_FOR_RATERS
from tests.orchestrator.audit.conftest import invoke, key, sheet
from tests.pictures import numbered_png, png


def records(run, *options):
    lines = invoke("runs", "show", run, "--limit", 1000, "--json", *options)
    return [json.loads(line) for line in lines.splitlines()]


def test_items_are_of_the_annotations_and_of_the_gap(run, draw):
    items = key(draw("--items", 30))["items"].values()
    assert Counter(arm for item in items for arm in item["arms"]) == {"before": 30, "after": 30}
    known = {
        (row["image_path"], row["question"], row["answer"]): row["cell"] for row in records(run)
    }
    cells = {
        name: [
            known[item["image"], item["question"], item["answer"]]
            for item in items
            if name in item["arms"]
        ]
        for name in ("before", "after")
    }
    assert set(cells["after"]) == {"gap"}
    assert set(cells["before"]) > {"gap"}


def test_the_populations_are_all_annotations_and_the_whole_gap(run, draw):
    populations = key(draw("--items", 3))["populations"]
    assert populations == {"before": len(records(run)), "after": len(records(run, "--cell", "gap"))}


def test_the_page_shows_every_item_with_its_image(draw):
    folder = draw("--items", 5)
    items = key(folder)["items"]
    assert [item["id"] for item in sheet(folder)["items"]] == list(items)
    for item in sheet(folder)["items"]:
        drawn = items[item["id"]]
        assert item["texts"] == [["Question", drawn["question"]], ["Answer", drawn["answer"]]]
        shown = Image.open(
            io.BytesIO(base64.b64decode(item["image"].removeprefix("data:image/webp;base64,")))
        )
        original = numbered_png(int(drawn["image"].removesuffix(".png")))
        assert shown.convert("RGB").tobytes() == Image.open(io.BytesIO(original)).tobytes()


def test_the_page_does_not_tell_the_arms(draw):
    folder = draw("--items", 40)
    page, items = (folder / "page.html").read_text(), key(folder)["items"]
    for word in ("before", "after", "gap", "arms", "cell", "seed"):
        assert f'"{word}"' not in page
    of_after = ["after" in item["arms"] for item in items.values()]
    changes = sum(one != other for one, other in pairwise(of_after))
    assert changes > 10  # in two blocks it would be 1
    assert list(items) == [f"{number:02}" for number in range(1, len(items) + 1)]
    assert {tuple(item) for item in sheet(folder)["items"]} == {("id", "image", "texts")}


def test_the_same_seed_draws_the_same_items(draw):
    pages = [
        (draw("--items", 10, "--seed", seed, name=name) / "page.html").read_text()
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    ]
    assert pages[0] == pages[1] != pages[2]


def test_a_larger_sample_holds_the_smaller_one(draw):
    small, large = (
        {
            (item["image"], item["number"])
            for item in key(draw("--items", count, name=str(count)))["items"].values()
            if "before" in item["arms"]
        }
        for count in (10, 50)
    )
    assert len(small) == 10
    assert small < large


def test_a_small_sample_is_said(run, tmp_path):
    said = invoke("audit", "draw", run, "--items", 1000, "--output", tmp_path / "audit")
    gap, annotations = len(records(run, "--cell", "gap")), len(records(run))
    assert f"after PI: {gap} items of {gap}, 1,000 were requested" in said
    assert f"before PI: {annotations} items of {annotations}, 1,000 were requested" in said
    assert (
        f"{gap} were drawn twice, before and after PI: they are rated once and count in both"
        in said
    )


def test_questions_that_people_wrote_are_mixed_in(draw, tmp_path):
    (tmp_path / "one.png").write_bytes(png("blue"))
    lines = [
        {"image": "one.png", "question": f"is it number {n}?", "answers": ["no", "yes", "no"]}
        for n in range(7)
    ]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = draw("--items", 5, "--human", tmp_path / "people.jsonl")
    human = {name: item for name, item in key(folder)["items"].items() if item["arms"] == ["human"]}
    assert len(human) == 5
    assert {item["answer"] for item in human.values()} == {"no"}
    assert key(folder)["populations"]["human"] == 7
    assert {item["image"].partition(",")[0] for item in sheet(folder)["items"]} == {
        "data:image/webp;base64"
    }


def test_text_that_looks_like_html_stays_text(tmp_path, draw):
    (tmp_path / "one.png").write_bytes(png("blue"))
    question = "</script><script>alert(1)</script> {{title}}?"
    line = {"image": "one.png", "question": question, "answers": ["<b>"]}
    (tmp_path / "people.jsonl").write_text(json.dumps(line) + "\n")
    folder = draw("--items", 1, "--human", tmp_path / "people.jsonl")
    assert [["Question", question], ["Answer", "<b>"]] in [
        item["texts"] for item in sheet(folder)["items"]
    ]
    assert "alert(1)</script>" not in (folder / "page.html").read_text()


def test_what_cannot_be_drawn_is_told(run, draw, tmp_path):
    draw("--items", 2)
    assert "already exists: delete it or name another" in draw("--items", 2, code=1)
    assert "there is no run in" in invoke(
        "audit", "draw", tmp_path, "--output", tmp_path / "b", code=1
    )
    (tmp_path / "people.jsonl").write_text(
        json.dumps({"image": "gone.png", "question": "is it?", "answers": ["no"]}) + "\n"
    )
    said = draw("--items", 2, "--human", tmp_path / "people.jsonl", code=1, name="c")
    assert "names the image gone.png, which isn't there" in said
    assert not (tmp_path / "c").exists()


def test_raters_are_told_of_every_task():
    assert set(TASKS_FOR_RATERS) == set(TASKS)
