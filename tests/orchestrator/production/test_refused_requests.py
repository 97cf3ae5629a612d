"""Users' requests that a run can't use."""

import json
from dataclasses import replace

import pytest

from services.core.errors import NotFound
from services.engines.images import sha256
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.production.test_requests import ASKED, AUDITED, align, samples
from tests.pictures import numbered_png

__all__ = ["samples"]


async def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        with pytest.raises(NotFound, match="MPA_STUDENT_SAMPLES"):
            await align(b, tmp_path / "nowhere")
        assert b.teacher.calls.total() == 0


async def test_a_request_whose_image_can_t_be_read_is_refused_and_the_rest_is_audited(
    tmp_path, pool, samples
):
    (segment,) = samples.glob("*/samples.jsonl")
    line = json.loads(segment.read_text().splitlines()[0])
    cut = numbered_png(1)[:60]
    (segment.parent / "images" / sha256(cut)).write_bytes(cut)
    with segment.open("a") as file:
        file.write(json.dumps({**line, "image": sha256(cut)}) + "\n")
    async with bench(tmp_path / "run", pool) as b:
        b.settings = replace(b.settings, max_pixels=1_000_000)
        await align(b, samples)
    refused = rows(b.folder, "SELECT sha256, rejection FROM images WHERE rejection != ''")
    assert refused == [(sha256(cut), "IMAGE_TRUNCATED")]
    assert len(rows(b.folder, AUDITED)) == len(ASKED)


async def test_images_of_requests_pass_the_same_admission(tmp_path, pool, samples):
    """One image is in the evaluation set: neither its pixels nor its question may be trained on."""
    leaked = tmp_path / "test" / "1.png"
    leaked.parent.mkdir()
    leaked.write_bytes(numbered_png(ASKED[0][0]))
    labels = leaked.with_name("labels.jsonl")
    labels.write_text(
        json.dumps({"image": "1.png", "question": "what color is it?", "answers": ["red"]}) + "\n"
    )
    async with bench(tmp_path / "run", pool) as b:
        b.labelled = labels
        await align(b, samples)
    assert rows(b.folder, "SELECT sha256 FROM images WHERE rejection = 'leak'") == [
        (sha256(leaked.read_bytes()),)
    ]
    assert len(rows(b.folder, AUDITED)) == len(ASKED) - 1
