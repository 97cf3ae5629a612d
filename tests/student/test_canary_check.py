"""Canaries of a trained version on transformers: right weights pass, stale parts don't."""

import asyncio
import json
import logging
import shutil

import pytest

from services.core.contract import Contract
from services.core.errors import InvalidInput, WrongState
from services.engines.loading import load_model
from services.engines.model import Exchangeable
from services.engines.settings import EngineSettings
from services.student import canaries, reference
from services.student.canary_check import CanaryCheck
from services.student.canary_verdict import Strictness
from services.student.loader import StoredVersions
from services.student.manifest import Origin
from services.student.store import VersionStore
from tests.tiny import save_tiny_checkpoint

pytestmark = pytest.mark.slow
CONTRACT = Contract(max_new_tokens=4)
FLOAT32 = EngineSettings(dtype="float32")


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("parent"))


@pytest.fixture(scope="module")
def version(parent, tmp_path_factory):
    """The parent after a step of training: a hundredth of noise on every tensor."""
    import torch
    from transformers import AutoModelForImageTextToText

    folder = save_tiny_checkpoint(tmp_path_factory.mktemp("version"))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * tensor.abs().mean() * 0.01)
    model.save_pretrained(folder)
    questions = canaries.synthetic_questions()
    asyncio.run(reference.compute(folder, CONTRACT, questions, parent=parent))
    return folder


async def check(model, folder, strictness=Strictness.STRICT, in_float32=True):
    return await CanaryCheck(strictness, in_float32)(model, folder, CONTRACT)


async def test_a_version_passes_in_float32_and_in_bfloat16(version):
    for settings in (FLOAT32, EngineSettings(dtype="bfloat16", max_batch=3)):
        model = await load_model(version, settings)
        in_float32 = settings is FLOAT32
        checked = await check(model, version, in_float32=in_float32)
        assert checked.total == checked.passed == canaries.COUNT
        by_itself = CanaryCheck(Strictness.STRICT, in_float32, by_reference=True)
        assert (await by_itself(model, version, CONTRACT)).passed == checked.passed
        await model.close()


async def test_any_stale_part_is_refused_after_a_reload(version, parent):
    model = await load_model(version, FLOAT32)
    assert isinstance(model, Exchangeable)
    parts = await model.borrow(parent)
    assert len(parts) == 5
    for stale in [*([part] for part in parts), parts]:
        await model.exchange(stale)
        with pytest.raises(InvalidInput, match="weights in memory are not") as refused:
            await check(model, version)
        assert refused.value.reason == "CANARY_FAILED"
        await model.exchange(stale)
    await check(model, version)
    await model.close()


async def test_the_parent_is_refused_on_a_new_engine_and_named(version, parent):
    model = await load_model(parent, FLOAT32)
    with pytest.raises(InvalidInput, match="as with the parent's weights in"):
        await check(model, version, Strictness.LENIENT)
    await model.close()


async def test_off_serves_a_version_and_says_so(version, parent, caplog):
    model = await load_model(parent, FLOAT32)
    with caplog.at_level(logging.WARNING):
        checked = await check(model, version, Strictness.OFF)
    assert checked.passed < checked.total
    assert "MPA_STUDENT_CANARIES is off" in caplog.text
    await model.close()


def _as_stored_before(folder, parents_answers):
    """Canaries as the last release wrote them: answers, and their probabilities as a whole."""
    path = folder / canaries.FOLDER / "canaries.json"
    raw = json.loads(path.read_text())
    for canary, before in zip(raw, parents_answers, strict=True):
        canary["changed"] = canary["answer"] != before
        for name in ("token_ids", "logprobs", "rounded", "stale", "prompt_tokens"):
            del canary[name]
    path.write_text(json.dumps(raw))


async def test_canaries_of_earlier_releases_tell_right_from_wrong(version, parent, tmp_path):
    folder = shutil.copytree(version, tmp_path / "version")
    known = canaries.read(folder)
    prompts = [canaries.prompt_for(each.image(folder), each.question, CONTRACT) for each in known]
    theirs = await load_model(parent, FLOAT32)
    _as_stored_before(folder, [reply.text for reply in await canaries.ask(theirs, prompts)])
    with pytest.raises(InvalidInput, match="not the version"):
        await check(theirs, folder)
    await theirs.close()
    for settings in (FLOAT32, EngineSettings(dtype="bfloat16")):
        ours = await load_model(folder, settings)
        checked = await check(ours, folder, Strictness.LENIENT, settings is FLOAT32)
        assert checked.passed == checked.total
        await ours.close()


async def test_a_version_that_only_its_engine_can_build_gets_canaries_from_its_first_load(
    version, parent, tmp_path
):
    store = VersionStore(tmp_path / "store")
    store.add(parent, Origin(canaries_by="transformers"), CONTRACT)
    assert store.manifest("v1").origin.canaries_by == "transformers"
    loader = StoredVersions(store, FLOAT32)
    for _ in range(2):
        model, checked = await loader.load("v1")
        assert checked.total == checked.passed == canaries.COUNT
        await model.close()
    known = canaries.read(store.path("v1"))
    assert not any(canary.rounded or canary.stale for canary in known)
    assert all(canary.prompt_tokens for canary in known)
    wrong = await load_model(version, FLOAT32)
    with pytest.raises(InvalidInput, match="times the noise"):
        await check(wrong, store.path("v1"))
    shutil.rmtree(store.path("v1") / canaries.FOLDER)
    with pytest.raises(WrongState, match="v1 has no canaries"):
        await loader.reload(wrong, "v1")
    assert not canaries.are_stored(store.path("v1")), "a reloaded engine would judge itself"
    await wrong.close()
    store.close()
