"""Canaries with images of earlier releases: other formats, and large ones with all pixels."""

import asyncio
import json
from functools import cache

import pytest
from PIL import Image

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.errors import InvalidInput, MpaError
from services.engines.images import load_stored_image
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from services.student import canaries, reference
from services.student.datasets import DatasetStore, TrainingSample
from services.student.job import Job
from services.student.manifest import Origin
from services.student.store import VersionStore
from tests.pictures import encoded, slow_png
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.trainings import new_job

SMALL = Image.new("RGB", (9, 7), "teal")
SIZES = {"large": (6_000, 4_000), "too large": (9_000, 8_000)}
FILES = ("BMP", "PPM", "TIFF", "large", pytest.param("too large", marks=pytest.mark.slow))


@cache
def file(name):
    return slow_png(*SIZES[name]) if name in SIZES else encoded(SMALL, name)


def _as_before(folder):
    """Remove `is_halved`, which files of earlier releases lack."""
    path = folder / "canaries" / "canaries.json"
    raw = json.loads(path.read_text())
    assert all(canary.pop("is_halved") for canary in raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("name", FILES)
async def test_a_version_of_an_earlier_release_loads(tmp_path, name):
    settings = fake_student_settings(tmp_path)
    data = file(name)
    version = fake_checkpoint(tmp_path / "version", skill=0.9)
    image = load_stored_image(data, is_halved=False)
    await reference.compute(version, Contract(), [canaries.CanaryQuestion(image, data, "what?")])
    _as_before(version)
    store = VersionStore(settings.store)
    for _ in range(2):
        store.add(version, Origin(), Contract())
    store.close()
    async with serving_student(settings) as peer:
        loaded = await peer.versions.LoadVersion(versions_pb2.LoadVersionRequest(name="v2"))
        assert loaded.version.canaries_passed == loaded.version.canaries == 1


@pytest.mark.parametrize("name", FILES)
async def test_a_dataset_of_an_earlier_release_is_trained_on(tmp_path, name):
    """Large images are halved, as in requests."""
    datasets = DatasetStore(tmp_path)
    image = load_stored_image(file(name))
    datasets.image_path(image.sha256).parent.mkdir(parents=True)
    datasets.image_path(image.sha256).write_bytes(file(name))
    base = fake_checkpoint(tmp_path / "base")
    folder = new_job(tmp_path, datasets, base, [TrainingSample(image.sha256, "what?", "red")])
    output = fake_checkpoint(tmp_path / "output", skill=0.9)
    await reference.compute_for_training(Job.read(folder), output)
    (canary,) = await asyncio.to_thread(canaries.read, output)
    assert canary.is_halved
    assert json.loads(canary.rendering.grid) == list(image.pixels.size)


class Unscorable:
    """A fake model of which the first questions write replies that can't be scored."""

    def __init__(self, model, count):
        self._model = model
        self._left = count
        self.fingerprint = model.fingerprint

    async def generate(self, prompt):
        if prompt.given and self._left:
            self._left -= 1
            raise InvalidInput("a reply holds a token of an image")
        return await self._model.generate(prompt)

    async def death(self):
        return await self._model.death()

    async def close(self):
        await self._model.close()


async def test_questions_that_cannot_be_scored_are_counted_in_the_log(tmp_path, caplog):
    folder = fake_checkpoint(tmp_path / "version")
    model = await load_model(folder, EngineSettings(engine="fake"))
    await reference.compute_by(Unscorable(model, 24), folder, Contract())
    assert len(canaries.read(folder)) == 8
    assert "24 of 32 canary questions can't be scored (a reply holds" in caplog.text
    with pytest.raises(MpaError, match=r"25 of 32 canary questions can't be scored.*too few"):
        await reference.compute_by(Unscorable(model, 25), folder, Contract())
    await model.close()
