"""One pixel budget for a run: the same copies for both models, at every step."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from protos.mpa.v1 import versions_pb2
from services.core.pixels import PixelBudget
from services.engines.images import load_image, sha256
from services.orchestrator.cli.main import app
from services.orchestrator.images.shrinking import as_sent
from services.orchestrator.run.settings import new_settings
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.pictures import encoded, numbered_png, png

BUDGET = PixelBudget(4_096)
QWEN = json.dumps({"min_pixels": 784, "max_pixels": 5_000, "patch_size": 14, "merge_size": 2})


@pytest.fixture
def photos(tmp_path):
    """80 images: every second one is beyond the budget."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(0, 80, 2):
        (folder / f"{number:03}.png").write_bytes(numbered_png(number))
        color = (number, 200, 255 - number)
        (folder / f"{number + 1:03}.jpg").write_bytes(
            encoded(Image.new("RGB", (160, 120), color), "JPEG")
        )
    return folder


def within(b, budget=BUDGET):
    settings = replace(b.settings, max_pixels=budget.max_pixels, side_multiple=budget.side_multiple)
    return replace(b, settings=settings)


def copies(folder, budget=BUDGET):
    """Hash of each original, and of what is sent."""
    files = [path.read_bytes() for path in folder.iterdir()]
    return {sha256(data): as_sent(load_image(data), budget).sent_sha256 for data in files}


async def test_every_step_sends_the_same_copies_and_names_the_originals(tmp_path, photos):
    labelled = tmp_path / "test.jsonl"
    lines = [
        {"image": f"photos/{n:03}.jpg", "question": f"what is {n}?", "answers": ["red"]}
        for n in (1, 3)
    ]
    labelled.write_text("\n".join(map(json.dumps, lines)))
    async with bench(tmp_path / "run", photos) as opened:
        b = within(replace(opened, labelled=labelled))
        await b.align()
    sent = copies(photos)
    assert len({*sent} - {*sent.values()}) == 40
    assert {*b.teacher.sent} <= {*sent.values()}
    assert {*b.student.sent} <= {*sent.values()}
    assert {sample.image_sha256 for sample in b.student.samples} <= {*sent.values()}
    assert {sha for (sha,) in rows(b.folder, "SELECT sha256 FROM images")} == {*sent}
    named = {json.loads(line)["sha256"] for line in b.parity_set().splitlines()}
    assert {sent[name] for name in named} == {s.image_sha256 for s in b.student.samples}
    assert any(sent[name] != name for name in named)


async def test_an_export_has_the_original_files(tmp_path, photos):
    async with bench(tmp_path / "run", photos) as opened:
        b = within(opened)
        await b.align()
    given = ("runs", "export", b.folder, "--format", "llava", "--output", tmp_path / "out")
    result = CliRunner().invoke(app, [*map(str, given)])
    assert result.exit_code == 0, result.output
    exported = {
        sha256(path.read_bytes())
        for path in (tmp_path / "out" / "images").rglob("*")
        if path.is_file()
    }
    assert exported
    assert exported <= {*copies(photos)}


async def test_replies_are_cached_by_the_bytes_that_were_sent(tmp_path, photos, cache):
    async with bench(tmp_path / "first", photos, cache=cache) as opened:
        first = within(opened)
        await first.align()
    async with bench(tmp_path / "same", photos, cache=cache) as opened:
        await within(opened).align()
        assert opened.teacher.calls["annotate"] == 0
    async with bench(tmp_path / "other", photos, cache=cache) as opened:
        other = within(opened, PixelBudget(2_048))
        await other.align()
    of_photos = first.teacher.calls["annotate"] / 2
    assert other.teacher.calls["annotate"] == pytest.approx(of_photos, abs=2)


def test_the_budget_is_in_the_conditions_of_every_record():
    usual = new_settings("images", "vqa", "paper")
    chosen = [replace(usual, max_pixels=pixels) for pixels in (0, 4_096, 8_192)]
    for conditions in ("conditions", "sample_conditions", "annotation_conditions"):
        assert len({getattr(settings, conditions) for settings in chosen}) == 3
        assert getattr(chosen[0], conditions) == getattr(usual, conditions)


async def test_a_narrow_image_is_refused_with_the_reason(tmp_path, photos):
    (photos / "narrow.png").write_bytes(png(size=(1, 3000)))
    (photos / "tiny.png").write_bytes(png(size=(12, 12)))
    async with bench(tmp_path / "run", photos) as b:
        await within(b).align()
    found = rows(b.folder, "SELECT path, rejection, detail FROM images WHERE rejection != ''")
    assert found == [
        (
            "narrow.png",
            "too_narrow",
            "1 x 3,000 pixels: one side is over 200 times the other",
        )
    ]


async def test_a_model_that_sees_images_differently_is_noted(tmp_path, photos):
    contract = versions_pb2.Contract(pixel_budget=QWEN)
    teacher, student = ScriptedTeacher(), ScriptedStudent(contracts={"v1": contract})
    teacher.pixel_budget = json.dumps({"max_pixels": 3_000, "patch_size": 14, "merge_size": 2})
    async with bench(tmp_path / "run", photos, teacher, student) as opened:
        b = within(opened)
        await b.align()
    noted = " ".join(b.output.getvalue().split())
    assert "larger images than 4,096 pixels are shrunk, for both models" in noted
    assert "uses at most 3,000 pixels: it sees less than it could" in noted
    assert "Give --max-pixels 3000" in noted
    assert "trains v1 on images of up to 4,096 pixels, and it uses up to 5,000 pixels" in noted
