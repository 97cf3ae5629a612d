"""The contract of a version: published, checked and served, or refused with its field."""

import json
from dataclasses import replace

import pytest

from protos.mpa.v1 import training_pb2, versions_pb2
from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.rpc.wire import contract_from_proto, contract_to_proto
from services.student import canaries
from services.student.job import Job
from services.student.manifest import MANIFEST, Manifest, Origin
from services.student.store import VersionStore
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.calls import ask, upload, wait

CAPTIONING = versions_pb2.Contract(
    answer_template="{question}",
    normaliser="caption@1",
    decoding=versions_pb2.Contract.Decoding(max_new_tokens=64),
)
QUESTION = "what is this?"


@pytest.fixture
async def peer(tmp_path):
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        yield peer


async def _train(peer, contract=None, **fields):
    request = training_pb2.TrainRequest(dataset=await upload(peer), contract=contract, **fields)
    return await peer.training.Train(request)


async def _contract(peer, name):
    return (
        await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name=name))
    ).version.contract


async def test_a_version_is_asked_as_its_training_said(peer):
    _, made = await wait(peer, await _train(peer, CAPTIONING))
    published = contract_from_proto(await _contract(peer, made.version), Contract())
    assert (published.answer_template, published.training_template) == ("{question}", "{question}")
    assert (published.max_new_tokens, published.temperature, published.top_p) == (64, 0.0, 1.0)
    assert published.normaliser == "caption@1"
    before = await peer.answers.Answer(ask(QUESTION))
    await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=made.version))
    after = await peer.answers.Answer(ask(QUESTION))
    assert (before.version, after.version) == ("v1", "v2")
    assert after.usage.prompt_tokens == len(QUESTION.split()), "the fake engine counts words"
    assert (
        before.usage.prompt_tokens
        == len("Answer the following question in a single word or phrase.".split()) + 3
    )
    explicit = await peer.answers.Answer(ask(QUESTION, template="Say it.\n{question}"))
    assert explicit.usage.prompt_tokens == 2 + len(QUESTION.split()), (
        "a caller's own words are an exception"
    )


async def test_in_place_the_contract_is_replaced_with_the_weights(tmp_path):
    async with serving_student(
        replace(fake_student_settings(tmp_path, skill=0.5), max_loaded=1)
    ) as peer:
        _, made = await wait(peer, await _train(peer, CAPTIONING))
        swapped = await peer.versions.PromoteVersion(
            versions_pb2.PromoteVersionRequest(name=made.version)
        )
        assert swapped.swap_way == versions_pb2.SWAP_WAY_IN_PLACE
        assert (await peer.answers.Answer(ask(QUESTION))).usage.prompt_tokens == len(
            QUESTION.split()
        )
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
        assert (await peer.answers.Answer(ask(QUESTION))).usage.prompt_tokens > len(
            QUESTION.split()
        )


async def test_the_canaries_are_computed_by_the_new_contract(peer):
    _, made = await wait(peer, await _train(peer, CAPTIONING))
    found = canaries.read(peer.student.store.path(made.version))
    assert {canary.rendering.tokens for canary in found} == {
        len(canary.question.split()) for canary in found
    }


async def test_authors_are_trained_on_one_template_and_served_by_another(peer):
    asked = versions_pb2.Contract(
        answer_template="{question}Answer in a word.",
        training_template="{question}",
        decoding=versions_pb2.Contract.Decoding(temperature=0.01, top_p=0.001, max_new_tokens=128),
        normaliser="contains@1",
    )
    operation = await _train(peer, asked, training_template="{question}")
    _, made = await wait(peer, operation)
    contract = await _contract(peer, made.version)
    assert contract.training_template == "{question}"
    assert contract.answer_template == "{question}Answer in a word."
    assert contract.decoding == asked.decoding
    assert (
        peer.student.jobs.job(operation.name.rpartition("/")[2]).contract.training_template
        == "{question}"
    )


async def test_without_a_contract_it_is_the_base_versions(peer):
    _, first = await wait(peer, await _train(peer, CAPTIONING, request_id="one"))
    _, second = await wait(peer, await _train(peer, base_version=first.version, request_id="two"))
    assert await _contract(peer, second.version) == await _contract(peer, first.version)
    _, third = await wait(
        peer, await _train(peer, request_id="three", training_template="Say it. {question}")
    )
    contract = await _contract(peer, third.version)
    assert (contract.training_template, contract.answer_template) == (
        "Say it. {question}",
        Contract().answer_template,
    )


async def test_a_long_system_prompt_of_the_base_version_may_be_named(tmp_path):
    settings = fake_student_settings(tmp_path, skill=0.5)
    store = VersionStore(settings.store)
    prompt = "Be brief. " * 100
    store.add(
        fake_checkpoint(tmp_path / "first", skill=0.5), Origin(), Contract(system_prompt=prompt)
    )
    store.close()
    async with serving_student(settings) as peer:
        _, made = await wait(peer, await _train(peer, await _contract(peer, "v1")))
        assert (await _contract(peer, made.version)).system_prompt == prompt


async def test_the_base_versions_own_parts_may_be_named(peer):
    own = await _contract(peer, "v1")
    assert own.processor_sha256
    _, made = await wait(peer, await _train(peer, own))
    assert await _contract(peer, made.version) == own


async def test_a_training_has_the_base_versions_system_turn(tmp_path):
    settings = fake_student_settings(tmp_path, skill=0.5)
    store = VersionStore(settings.store)
    store.add(
        fake_checkpoint(tmp_path / "first", skill=0.5),
        Origin(),
        Contract(system_prompt="Be brief."),
    )
    store.close()
    async with serving_student(settings) as peer:
        operation = await _train(peer)
        await wait(peer, operation)
        assert (
            peer.student.jobs.job(operation.name.rpartition("/")[2]).contract.system_prompt
            == "Be brief."
        )


def test_a_manifest_of_an_earlier_release_is_read(tmp_path):
    store = VersionStore(tmp_path / "store")
    name = store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract())
    path = store.path(name) / MANIFEST
    manifest = json.loads(path.read_text())
    for later in ("top_p", "pixel_budget"):
        del manifest["contract"][later]
    path.write_text(json.dumps(manifest))
    assert store.manifest(name).contract.top_p == 1.0
    store.verify(name)
    store.close()


def test_a_job_of_an_earlier_release_goes_on_by_its_bases_contract(tmp_path):
    store = VersionStore(tmp_path / "store")
    base = store.path(
        store.add(fake_checkpoint(tmp_path / "a"), Origin(), Contract(system_prompt="Be brief."))
    )
    folder = tmp_path / "job"
    Job(
        id="one",
        base_version="v1",
        base_folder=str(base),
        dataset="d",
        run="r",
        recipe="authors",
        contract=Contract(),
        hyperparameters=Hyperparameters(1e-5),
        store=str(tmp_path),
    ).write(folder)
    raw = json.loads((folder / "job.json").read_text())
    del raw["contract"]
    (folder / "job.json").write_text(
        json.dumps({**raw, "training_template": "{question}", "system_prompt": ""})
    )
    contract = Job.read(folder).contract
    assert contract.training_template == "{question}"
    assert contract.system_prompt == "Be brief."
    assert contract.processor_sha256 == Manifest.read(base).contract.processor_sha256
    store.close()


def test_a_contract_survives_the_wire():
    contract = Contract(
        answer_template="a {question}",
        training_template="b {question}",
        system_prompt="s",
        normaliser="anls@1",
        chat_template_sha256="c",
        processor_sha256="p",
        temperature=0.25,
        max_new_tokens=7,
        top_p=0.5,
        pixel_budget="{}",
    )
    assert contract_from_proto(contract_to_proto(contract), Contract()) == contract
