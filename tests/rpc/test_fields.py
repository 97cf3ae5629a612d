"""Faults of fields, found by each face before the servicer gets the request."""

import json

import httpx
import pytest
from google.rpc import code_pb2

from protos.mpa.v1 import student_pb2, training_pb2, versions_pb2
from services.core.errors import InvalidInput
from services.rpc.fields import check_fields
from services.rpc.status import from_rpc_error, from_status
from tests.rpc.callers import refusal, serving
from tests.rpc.http.peers import http_peer

ODD = student_pb2.AnswerRequest(question="why?", version="v\0")


async def test_a_call_has_it_found():
    async with serving() as peer:
        assert from_rpc_error(await refusal(peer.answers.Answer(ODD))).reason == "NAME_WITH_NUL"
        assert peer.servicer.asked == 0


async def test_an_item_has_it_found():
    async with serving() as peer:
        stream = peer.answers.AnswerStream(
            iter([student_pb2.AnswerStreamRequest(id="1", request=ODD)])
        )
        (reply,) = [reply async for reply in stream]
        assert (reply.error.code, from_status(reply.error).reason) == (
            code_pb2.INVALID_ARGUMENT,
            "NAME_WITH_NUL",
        )
        assert peer.servicer.asked == 0


async def test_a_form_has_it_found():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        body = json.dumps({"image": "aGk=", "question": "why?", "version": ODD.version})
        reply = await client.post(
            "/v1/vqa", content=body, headers={"content-type": "application/json"}
        )
        assert (reply.status_code, reply.json()["error"]["reason"]) == (400, "NAME_WITH_NUL")
        assert peer.servicer.begun == 0


@pytest.mark.parametrize("name", ["answer_template", "training_template", "system_prompt"])
def test_texts_of_a_contract_are_no_names(name):
    contract = versions_pb2.Contract()
    setattr(contract, name, "x" * 1_990 + "{question}")
    check_fields(training_pb2.TrainRequest(contract=contract))


@pytest.mark.parametrize("name", ["normaliser", "processor_sha256", "chat_template_sha256"])
def test_names_of_a_contract_are_short(name):
    contract = versions_pb2.Contract()
    setattr(contract, name, "x" * 300)
    with pytest.raises(InvalidInput, match=f"contract.{name} has 300 characters"):
        check_fields(training_pb2.TrainRequest(contract=contract))
