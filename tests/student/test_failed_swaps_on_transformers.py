"""Versions that fail only when they are loaded, on transformers: the live version serves on."""

import gc
import json
import shutil

import pytest

from services.core.contract import Contract
from services.core.errors import MpaError
from services.engines.settings import EngineSettings
from services.student import canaries, reference
from services.student.loader import StoredVersions
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from services.student.slot import SlotState
from services.student.store import VersionStore
from services.student.versions import Versions

pytestmark = pytest.mark.slow


def _unknown_processor(folder):
    path = folder / "processor_config.json"
    config = json.loads(path.read_text())
    config["image_processor"]["image_processor_type"] = "NoSuchImageProcessor"
    path.write_text(json.dumps(config))


def _template_that_fails(folder):
    (folder / "chat_template.jinja").write_text("{{ messages[7].content }}")


def _template_without_image(folder):
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}an image<|im_end|>{% endfor %}"
    )


def _tokenizer_cut_off(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:-100])


DAMAGES = [_unknown_processor, _template_that_fails, _template_without_image, _tokenizer_cut_off]


async def _answer(versions):
    question = canaries.synthetic_questions()[0]
    prompt = canaries.prompt_for(question.image, question.text, Contract())
    async with versions.lease() as lease:
        return (await lease.model.generate(prompt)).text


@pytest.mark.parametrize("way", [SwapWay.IN_PLACE, SwapWay.TWO_SLOTS])
async def test_whatever_is_broken_the_live_version_answers_as_before(
    tiny_checkpoint, tmp_path, way
):
    from transformers import Qwen2VLForConditionalGeneration

    store = VersionStore(tmp_path / "store")
    store.add(tiny_checkpoint, Origin(), Contract())
    store.point(Pointers(live="v1"))
    await reference.compute(store.path("v1"), Contract(), canaries.synthetic_questions())
    for damage in DAMAGES:
        broken = shutil.copytree(store.path("v1"), tmp_path / damage.__name__)
        damage(broken)
        store.add(broken, Origin(parent="v1"), Contract())
    settings = EngineSettings(device="cpu")
    versions = Versions(store, StoredVersions(store, settings), max_loaded=2, way=way)
    await versions.start()
    before = await _answer(versions)
    for name in store.names()[1:]:
        with pytest.raises(MpaError, match=r"version v1 is still live$") as refused:
            await versions.promote(name)
        assert type(refused.value) is not MpaError, "which would be UNKNOWN on the wire"
        assert versions.pointers == store.pointers() == Pointers(live="v1")
        assert await _answer(versions) == before
        slot = versions.slot(name)
        assert slot is None or (
            slot.state is SlotState.FAILED and slot.error and slot.model is None
        )
    del refused
    gc.collect()
    loaded = [
        thing for thing in gc.get_objects() if isinstance(thing, Qwen2VLForConditionalGeneration)
    ]
    assert len(loaded) == 1, "memory of those that failed is free"
    await versions.close()
    store.close()
