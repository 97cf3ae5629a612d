"""Keys in front of real gRPC calls."""

import asyncio
import time

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from protos.mpa.v1 import training_pb2
from services.core.errors import PermissionDenied, Unauthenticated
from services.rpc.access.credentials import Credentials
from services.rpc.client import Picture, StudentClient
from services.rpc.status import from_rpc_error
from tests.rpc.access.keyring import bearing
from tests.rpc.callers import ANSWER, asking, item, raw, refusal, serving
from tests.waiting import until


@pytest.fixture
async def peer(keys):
    async with serving(keys.access()) as peer:
        yield peer


def info_of(error):
    for detail in rpc_status.from_call(error).details:
        found = error_details_pb2.ErrorInfo()
        if detail.Unpack(found):
            return found
    raise AssertionError(error)


async def test_a_key_opens_what_its_role_allows(peer, keys):
    reply = await peer.answers.Answer(asking("why?"), metadata=bearing(keys.tokens["ask"]))
    assert reply.answer == "why?"
    refused = await refusal(
        peer.answers.Answer(asking("why?"), metadata=bearing(keys.tokens["train"]))
    )
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert info_of(refused).reason == "ROLE_MISSING"
    assert info_of(refused).metadata["role"] == "ask"
    error = from_rpc_error(refused)
    assert isinstance(error, PermissionDenied) and error.role == "ask"


async def test_health_needs_no_key(peer):
    health = health_pb2_grpc.HealthStub(peer.channel)
    checked = await health.Check(health_pb2.HealthCheckRequest())
    assert checked.status == health_pb2.HealthCheckResponse.SERVING


WRONG = {
    "none": ((), "KEY_MISSING"),
    "empty": ((("authorization", ""),), "KEY_MALFORMED"),
    "no bearer": ((("authorization", "KEY"),), "KEY_MALFORMED"),
    "basic": ((("authorization", "Basic KEY"),), "KEY_MALFORMED"),
    "with more": ((("authorization", "Bearer KEY more"),), "KEY_MALFORMED"),
    "twice": ((("authorization", "Bearer KEY"), ("authorization", "Bearer KEY")), "KEY_MALFORMED"),
    "no key": ((("authorization", "Bearer sk-abc"),), "KEY_UNKNOWN"),
    "cut off": ((("authorization", "Bearer CUT"),), "KEY_UNKNOWN"),
    "another secret": ((("authorization", "Bearer ANOTHER"),), "KEY_UNKNOWN"),
    "unknown id": ((("authorization", f"Bearer mpa-00000000-{'a' * 43}"),), "KEY_UNKNOWN"),
    "in another name": ((("x-api-key", "KEY"),), "KEY_MISSING"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_without_the_right_key_nothing_is_read(peer, keys, name):
    metadata, reason = WRONG[name]
    token = keys.tokens["ask"]
    another = token[:13] + ("a" if token[13] != "a" else "b") + token[14:]
    words = {"KEY": token, "CUT": token[:-1], "ANOTHER": another}

    def filled(value):
        return " ".join(words.get(word, word) for word in value.split(" "))

    refused = await refusal(
        peer.answers.Answer(
            asking("why?"), metadata=tuple((key, filled(value)) for key, value in metadata)
        )
    )
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert info_of(refused).reason == reason
    assert token not in refused.details() + str(refused.trailing_metadata())
    assert peer.servicer.asked == 0


@pytest.mark.parametrize("form", ["bearer KEY", "BEARER KEY", "Bearer  KEY", "Bearer KEY "])
async def test_the_scheme_has_no_case(peer, keys, form):
    metadata = (("authorization", form.replace("KEY", keys.tokens["ask"])),)
    assert (await peer.answers.Answer(asking("why?"), metadata=metadata)).answer == "why?"


async def test_an_upload_without_a_key_is_refused_at_once(peer):
    async def parts():
        for _ in range(50):
            yield training_pb2.UploadDatasetRequest(image=bytes(2**16))

    refused = await refusal(peer.training.UploadDataset(parts(), timeout=30))
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_without_a_key_ends(peer):
    stream = peer.answers.AnswerStream(timeout=30)
    assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_that_is_added_opens_without_a_restart(peer, keys, caplog):
    token = keys.add("late", "ask")
    with caplog.at_level("INFO"):
        await until(lambda: "5 keys" in caplog.text)
    assert (await peer.answers.Answer(asking("why?"), metadata=bearing(token))).answer == "why?"


async def test_a_revoked_key_ends_open_calls(peer, keys):
    stream = peer.answers.AnswerStream(metadata=bearing(keys.tokens["ask"]))
    await stream.write(item("1"))
    assert (await stream.read()).response.answer == "why?"
    wait = peer.operations.WaitOperation(
        operations_pb2.WaitOperationRequest(), metadata=bearing(keys.tokens["train"])
    )
    keys.revoke("ask")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await asyncio.wait_for(stream.read(), 60)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert info_of(ended.value).reason == "KEY_ENDED"
    refused = await refusal(
        peer.answers.Answer(asking("why?"), metadata=bearing(keys.tokens["ask"]))
    )
    assert info_of(refused).reason == "KEY_REVOKED"
    assert not wait.done(), "other keys go on"
    wait.cancel()


async def test_a_key_expires(keys):
    token = keys.add("short", "ask", lifetime_s=0.001)
    async with serving(keys.access()) as peer:
        ended = time.time() + 0.001
        await until(lambda: time.time() > ended)
        refused = await refusal(peer.answers.Answer(asking("why?"), metadata=bearing(token)))
    assert info_of(refused).reason == "KEY_EXPIRED"


async def test_a_damaged_file_leaves_the_last_good_keys(peer, keys, caplog):
    keys.path.write_text("{")
    await until(lambda: "the keys stay as they were" in caplog.text)
    reply = await peer.answers.Answer(asking("why?"), metadata=bearing(keys.tokens["ask"]))
    assert reply.answer == "why?"


async def test_an_unknown_method_is_unknown_with_and_without_a_key(peer, keys):
    for metadata in ((), bearing(keys.tokens["ask"])):
        call = raw(peer.channel, "/mpa.v1.StudentService/Nothing", "unary_unary")
        refused = await refusal(call(b"", metadata=metadata))
        assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_path_with_tricks_is_no_method(peer, keys):
    for path in (ANSWER + "/", "/" + ANSWER, ANSWER.replace("/A", "/%41"), ANSWER.lower()):
        call = raw(peer.channel, path, "unary_unary")
        refused = await refusal(call(asking("why?").SerializeToString()))
        assert refused.code() is grpc.StatusCode.UNIMPLEMENTED
    assert peer.servicer.asked == 0


async def test_the_client_shows_its_key(peer, keys):
    address = f"127.0.0.1:{peer.port}"
    picture = Picture.of(b"an image")
    async with StudentClient(address, credentials=Credentials(keys.tokens["ask"])) as student:
        await student.ready()
        assert (await student.answer(picture, "why?")).answer == "why?"
        assert (await student.answer(picture, "why?", retry=False)).answer == "why?"
        with pytest.raises(PermissionDenied, match="read or train"):
            await student.training("operations/1")
    async with StudentClient(address, credentials=Credentials()) as student:
        await student.ready()
        with pytest.raises(Unauthenticated, match="needs a key"):
            await student.answer(picture, "why?")


async def test_the_client_finds_its_key_in_the_environment(peer, keys, monkeypatch, tmp_path):
    file = tmp_path / "key"
    file.write_text(keys.tokens["ask"] + "\n")
    monkeypatch.setenv("MPA_KEY_FILE", str(file))
    async with StudentClient(f"127.0.0.1:{peer.port}") as student:
        assert (await student.answer(Picture.of(b"an image"), "why?")).answer == "why?"
