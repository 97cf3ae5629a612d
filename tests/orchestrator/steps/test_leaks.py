"""Near-duplicates within the pool, and images of evaluation sets: none is annotated or
trained on.
"""

import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from services.core.errors import Unavailable, WrongState
from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.cli.session import leak_check
from services.orchestrator.reports.summary import show
from services.orchestrator.run.run import open_run
from services.orchestrator.steps.leaks import look_for_leaks
from tests.orchestrator.conftest import bench, rows, with_recipe
from tests.orchestrator.images.conftest import zip_of
from tests.orchestrator.images.test_likeness import scene
from tests.orchestrator.scripted import ScriptedStudent
from tests.pictures import numbered_png

REFUSED = "SELECT path, rejection, detail FROM images WHERE rejection != '' ORDER BY path"


def stored(image, kind="JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def scenes(tmp_path):
    """60 images, and two copies of each of the first 20: another quality, another size.

    Their names sort them in between.
    """
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(60):
        image = scene(number)
        (folder / f"{number:02}a.png").write_bytes(stored(image, "PNG"))
        if number < 20:
            (folder / f"{number:02}b.jpg").write_bytes(stored(image, quality=60))
            (folder / f"{(number + 30):02}c.jpg").write_bytes(
                stored(image.resize((120, 90)), quality=90)
            )
    return folder


@pytest.fixture
def labelled(tmp_path):
    """Three images of the pool (unchanged, compressed again, smaller), and one other image."""
    folder = tmp_path / "test"
    folder.mkdir()
    images = {
        "same.png": stored(scene(3), "PNG"),
        "compressed.jpg": stored(scene(25), quality=50),
        "smaller.png": stored(scene(40).resize((100, 75)), "PNG"),
        "other.png": stored(scene(999), "PNG"),
    }
    lines = [
        json.dumps({"image": name, "question": f"what is {n}?", "answers": ["red"]})
        for n in range(9)
        for name in images
    ]
    for name, data in images.items():
        (folder / name).write_bytes(data)
    (folder / "labels.jsonl").write_text("\n".join(lines))
    return folder / "labels.jsonl"


async def test_near_duplicates_are_left_out_and_named(tmp_path, scenes):
    async with bench(tmp_path / "run", scenes) as b:
        b.settings = replace(b.settings, near_duplicates=4)
        summary = await b.align()
    assert summary.images == 60
    assert summary.image_files.refused == {"near_duplicate": 40}
    details = {path: detail for path, _, detail in rows(b.folder, REFUSED)}
    assert details["07b.jpg"].startswith("looks like 07a.png (")
    assert details["37c.jpg"].startswith("looks like 07a.png (")
    assert set(b.teacher.sent) == {
        sha256 for (sha256,) in rows(b.folder, "SELECT sha256 FROM images WHERE rejection = ''")
    }


async def test_without_the_option_only_the_same_bytes_are_duplicates(tmp_path, scenes):
    (scenes / "zz.png").write_bytes((scenes / "00a.png").read_bytes())
    async with bench(tmp_path / "run", scenes, recipe="paper") as b:
        summary = await b.align()
    assert summary.image_files.refused == {"duplicate": 1}
    assert rows(b.folder, REFUSED) == [("zz.png", "duplicate", "the same bytes as 00a.png")]


async def test_interrupted_and_resumed_the_same_images_are_left_out(tmp_path, scenes):
    async with bench(tmp_path / "calm", scenes) as calm:
        calm.settings = replace(calm.settings, near_duplicates=4)
        await calm.align()
    student = ScriptedStudent()
    stop = {"at": 20}
    student.trouble = lambda _: (
        Unavailable("gone") if student.calls["answer"] >= stop["at"] else None
    )
    async with bench(tmp_path / "run", scenes, student=student, patience_s=0.1) as b:
        b.settings = replace(b.settings, near_duplicates=4)
        with pytest.raises(Unavailable):
            await b.align()
        stop["at"] = 70
        with pytest.raises(Unavailable):
            await b.align()
        student.trouble = lambda _: None
        await b.align()
    assert rows(b.folder, REFUSED) == rows(calm.folder, REFUSED)
    assert b.parity_set() == calm.parity_set()


async def test_what_is_in_the_evaluation_set_is_never_annotated_nor_trained_on(
    tmp_path, scenes, labelled
):
    async with bench(tmp_path / "run", scenes) as b:
        b.labelled = labelled
        summary = await b.align()
    leaks = {
        path: detail for path, rejection, detail in rows(b.folder, REFUSED) if rejection == "leak"
    }
    assert leaks["03a.png"] == "the same bytes as same.png of labels.jsonl"
    assert leaks["25a.png"].startswith("looks like compressed.jpg of labels.jsonl (")
    # Their near duplicates are in the set, too.
    assert set(leaks) == {"03a.png", "03b.jpg", "33c.jpg", "25a.png", "40a.png"}
    assert summary.image_files.refused["leak"] == 5
    annotated = {sha256 for (sha256,) in rows(b.folder, "SELECT image_sha256 FROM annotations")}
    leaked = {
        sha256 for (sha256,) in rows(b.folder, "SELECT sha256 FROM images WHERE rejection = 'leak'")
    }
    assert annotated.isdisjoint(leaked)
    assert leaked.isdisjoint(sample.image_sha256 for sample in b.student.samples)
    shown = io.StringIO()
    show(summary, Console(file=shown, width=200))
    assert (
        "5 images are in an evaluation set and not used: 03a.png: the same bytes as same.png"
        in shown.getvalue()
    )


async def test_any_source_of_images_can_be_kept_out_and_is_read_once(tmp_path, scenes):
    (tmp_path / "secret.zip").write_bytes(
        zip_of({"a/1.png": stored(scene(9), "PNG"), "a/2.png": b"broken"})
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "3.png").write_bytes(stored(scene(50), "PNG"))
    async with bench(tmp_path / "run", scenes) as b:
        sources = leak_check([str(tmp_path / "secret.zip"), str(tmp_path / "more")])
        b.settings = replace(b.settings, leak_check=sources)
        summary = await b.align()
        assert summary.image_files.refused == {"leak": 4}
        assert "1 images of" in b.output.getvalue()
        (tmp_path / "secret.zip").unlink()
        assert await b.align() == summary
        b.settings = replace(b.settings, leak_check=())
        with pytest.raises(WrongState, match="leak_check"):
            await b.align()


async def test_a_set_that_is_named_after_annotating_still_keeps_its_images_from_training(
    tmp_path, scenes, labelled
):
    async with bench(tmp_path / "run", scenes) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)
        b.labelled = labelled
        summary = await b.align()
    assert summary.image_files.refused == {"leak": 5}
    leaked = {
        sha256 for (sha256,) in rows(b.folder, "SELECT sha256 FROM images WHERE rejection = 'leak'")
    }
    assert leaked.isdisjoint(sample.image_sha256 for sample in b.student.samples)


async def test_a_set_that_is_named_after_training_is_told_about(tmp_path, scenes, labelled):
    async with bench(tmp_path / "run", scenes) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        await b.align()
        b.labelled = labelled
        summary = await b.align()
    assert summary.image_files.leaks_used == 5
    assert "leak" not in summary.image_files.refused
    shown = io.StringIO()
    show(summary, Console(file=shown, width=200))
    assert "5 images of an evaluation set were used before it was named" in shown.getvalue()


async def test_a_changed_evaluation_set_is_looked_for_anew(tmp_path, scenes, labelled):
    async with bench(tmp_path / "run", scenes) as b:
        b.labelled = labelled
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await look_for_leaks(run, labelled, progress)
            (labelled.parent / "new.png").write_bytes(stored(scene(55), "PNG"))
            with labelled.open("a") as file:
                file.write(
                    "\n" + json.dumps({"image": "new.png", "question": "what?", "answers": ["red"]})
                )
        summary = await b.align()
    assert summary.image_files.refused == {"leak": 6}


@pytest.mark.parametrize(("bits", "code"), [("13", 2), ("-1", 2), ("few", 2)])
def test_a_distance_that_means_nothing_is_refused(tmp_path, bits, code):
    arguments = ["align", str(tmp_path), "--task", "vqa", "--local", "--near-duplicates", bits]
    assert CliRunner().invoke(app, arguments).exit_code == code


async def test_a_picture_that_is_too_plain_for_the_hash_is_told_apart_by_its_colours(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.png").write_bytes(numbered_png(number))
    (folder / "zz.png").write_bytes(stored(Image.open(folder / "005.png").resize((99, 99)), "PNG"))
    async with bench(tmp_path / "run", folder) as b:
        b.settings = replace(b.settings, near_duplicates=4)
        await b.align()
    assert [(path, detail) for path, _, detail in rows(b.folder, REFUSED)] == [
        ("zz.png", "looks like 005.png (0 bits differ)")
    ]
