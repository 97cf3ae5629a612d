"""Contracts that a training, or a service, refuses."""

import json

import grpc
import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.rpc.status import from_rpc_error
from services.student.manifest import MANIFEST, Origin
from tests.serving import fake_checkpoint
from tests.student.calls import ask, wait
from tests.student.test_contract import _contract, _train, peer

__all__ = ["peer"]


@pytest.mark.parametrize(
    ("contract", "field"),
    [
        ({"answer_template": "no place for it"}, "contract.answer_template"),
        ({"answer_template": "{question}" * 2}, "contract.answer_template"),
        ({"answer_template": "x" * 30_000 + "{question}"}, "contract.answer_template"),
        ({"training_template": "none"}, "contract.training_template"),
        ({"normaliser": "exact@9"}, "contract.normaliser"),
        ({"system_prompt": "You are somebody else."}, "contract.system_prompt"),
        ({"system_prompt": "x" * 20_001}, "contract.system_prompt"),
        ({"processor_sha256": "0" * 64}, "contract.processor_sha256"),
        ({"chat_template_sha256": "0" * 64}, "contract.chat_template_sha256"),
        ({"pixel_budget": '{"max_pixels": 1}'}, "contract.pixel_budget"),
        (
            {"decoding": versions_pb2.Contract.Decoding(max_new_tokens=100_000)},
            "contract.decoding.max_new_tokens",
        ),
        (
            {"decoding": versions_pb2.Contract.Decoding(temperature=-1)},
            "contract.decoding.temperature",
        ),
        ({"decoding": versions_pb2.Contract.Decoding(top_p=2)}, "contract.decoding.top_p"),
    ],
)
async def test_a_contract_that_cannot_be_served_is_refused_and_its_field_named(
    peer, contract, field
):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _train(peer, versions_pb2.Contract(**contract))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(refused.value)
    assert isinstance(error, InvalidInput)
    assert error.field == field
    assert peer.student.jobs.names() == []


async def test_templates_may_be_as_long_as_they_are_said_to_be(peer):
    longest = "x" * 1_990 + "{question}"
    _, made = await wait(
        peer,
        await _train(
            peer, versions_pb2.Contract(answer_template=longest, training_template=longest)
        ),
    )
    contract = await _contract(peer, made.version)
    assert (contract.answer_template, contract.training_template) == (longest, longest)


@pytest.mark.parametrize("name", ["answer_template", "training_template"])
async def test_a_template_that_is_too_long_is_told_how_long_it_may_be(peer, name):
    contract = versions_pb2.Contract()
    setattr(contract, name, "x" * 1_991 + "{question}")
    with pytest.raises(grpc.aio.AioRpcError, match="at most 2,000") as refused:
        await _train(peer, contract)
    assert from_rpc_error(refused.value).reason == "TEXT_TOO_LONG"


async def test_two_templates_for_one_training_are_refused(peer):
    with pytest.raises(grpc.aio.AioRpcError, match="give one of them"):
        await _train(
            peer,
            versions_pb2.Contract(training_template="a {question}"),
            training_template="b {question}",
        )


@pytest.mark.parametrize("file", ["preprocessor_config.json", "chat_template.jinja"])
async def test_a_version_with_another_processor_or_template_is_never_loaded(peer, tmp_path, file):
    name = _add(peer, tmp_path)
    (peer.student.store.path(name) / file).write_text("{}")
    await _refused_as_broken(peer, name)


@pytest.mark.parametrize(
    "changes", [{"normaliser": "exact@9"}, {"answer_template": "none"}, {"max_new_tokens": 0}]
)
async def test_a_version_whose_contract_cannot_be_kept_here_is_never_loaded(
    peer, tmp_path, changes
):
    name = _add(peer, tmp_path)
    path = peer.student.store.path(name) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["contract"].update(changes)
    path.write_text(json.dumps(manifest))
    await _refused_as_broken(peer, name)


def _add(peer, tmp_path):
    """Another version."""
    return peer.student.store.add(fake_checkpoint(tmp_path / "other"), Origin(), Contract())


async def _refused_as_broken(peer, version):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=version))
    assert from_rpc_error(refused.value).reason == "CONTRACT_BROKEN"
    assert (await peer.answers.Answer(ask())).version == "v1"
