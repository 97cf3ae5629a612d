"""Keys of a student: each method by role, and trainings by key."""

import json
from functools import partial

import grpc
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import student_pb2, training_pb2, versions_pb2
from services.rpc.access.audit_log import AuditLog
from services.rpc.access.roles import NEEDED
from services.student.servicers import SERVICES
from tests.pictures import numbered_png
from tests.rpc.access.keyring import bearing, one_key_for_each_role
from tests.rpc.callers import raw
from tests.serving import fake_student_settings, serving_student
from tests.student.uploading import image_part, sample_part
from tests.waiting import until

METHODS = {
    name: roles
    for name, roles in NEEDED.items()
    if name.startswith(tuple(f"/{s}/" for s in SERVICES))
}
KINDS = {
    "AnswerStream": "stream_stream",
    "UploadDataset": "stream_unary",
    "ExportVersion": "unary_stream",
}


@pytest.fixture
def keys(tmp_path):
    keys = one_key_for_each_role(tmp_path)
    keys.add("other", "train")
    keys.add("both", "operate", "train")
    return keys


@pytest.fixture
async def peer(tmp_path, keys, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "60")
    access = keys.access(AuditLog(tmp_path / "audit.jsonl"))
    async with serving_student(fake_student_settings(tmp_path), access) as peer:
        yield peer


def lines(folder):
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


async def code_of(peer, method, metadata):
    """The status of a call with an empty request."""
    kind = KINDS.get(method.rpartition("/")[2], "unary_unary")
    call = raw(peer.channel, method, kind)
    sent = iter([]) if kind.startswith("stream") else b""
    under_way = call(sent, metadata=metadata, timeout=60)
    try:
        if kind.endswith("stream"):
            await under_way.read()
        else:
            await under_way
    except grpc.aio.AioRpcError:
        pass
    return await under_way.code()


async def test_each_method_is_open_to_its_roles_alone(peer, keys):
    for method, roles in METHODS.items():
        denied = await code_of(peer, method, ())
        assert denied is grpc.StatusCode.UNAUTHENTICATED, method
        for role in ("ask", "operate", "train", "read"):
            if role == "operate" and method.endswith("RollbackVersion"):
                continue  # an empty request would be carried out
            code = await code_of(peer, method, bearing(keys.tokens[role]))
            is_denied = code in (
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.UNAUTHENTICATED,
            )
            assert is_denied == (role not in roles), f"{method} with {role}: {code}"


async def test_a_training_belongs_to_its_key(peer, keys):
    keyed = {name: {"metadata": bearing(token)} for name, token in keys.tokens.items()}
    parts = iter([image_part(1), sample_part(1)])
    uploaded = await peer.training.UploadDataset(parts, **keyed["train"])
    request = training_pb2.TrainRequest(request_id="r", dataset=uploaded.dataset)
    started = await peer.training.Train(request, **keyed["train"])

    get = partial(
        peer.operations.GetOperation, operations_pb2.GetOperationRequest(name=started.name)
    )
    cancel = partial(
        peer.operations.CancelOperation, operations_pb2.CancelOperationRequest(name=started.name)
    )
    assert not (await get(**keyed["train"])).done
    assert not (await get(**keyed["read"])).done
    for refused in (get, cancel, partial(peer.training.Train, request)):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await refused(**keyed["other"])
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not (await get(**keyed["train"])).done
    await cancel(**keyed["both"])
    assert (await get(**keyed["train"])).error.code == grpc.StatusCode.CANCELLED.value[0]


async def test_control_actions_are_audited(peer, keys, tmp_path):
    name = 'v1", "result": "OK"}\n{"forged": "line'
    keyed = {role: {"metadata": bearing(token)} for role, token in keys.tokens.items()}
    asked = student_pb2.AnswerRequest(image={"data": numbered_png(1)}, question="a secret")
    await peer.answers.Answer(asked, **keyed["ask"])
    await peer.versions.ListVersions(versions_pb2.ListVersionsRequest(), **keyed["read"])
    delete = versions_pb2.DeleteVersionRequest(name=name)
    marked = (*keyed["operate"]["metadata"], ("x-request-id", "id-1"))
    for how in (keyed["ask"], {"metadata": marked}):
        with pytest.raises(grpc.aio.AioRpcError):
            await peer.versions.DeleteVersion(delete, **how)
    parts = iter([image_part(1), sample_part(1, answer="a secret")])
    uploaded = await peer.training.UploadDataset(parts, **keyed["train"])
    keys.revoke("other")
    await until(lambda: lines(tmp_path)[-1]["action"] == "keys")

    refused, begun, failed, sending, sent, changed = lines(tmp_path)
    assert (refused["action"], refused["result"]) == ("DeleteVersion", "ROLE_MISSING")
    assert (refused["key"], refused["role"]) == (keys.ids["ask"], "operate")
    assert begun["result"] == "BEGUN" and begun["request"] == {"name": name}
    assert failed["result"] == "VERSION_NOT_FOUND"
    assert failed["key"] == keys.ids["operate"] and failed["name"] == "operate"
    assert failed["request_id"] == "id-1" and failed["address"].startswith("ipv4:127.0.0.1")
    assert (sending["result"], sent["result"]) == ("BEGUN", "OK")
    assert sent["reply"] == {"dataset": uploaded.dataset, "samples": 1, "images": 1}
    assert changed["changed"] == [keys.ids["other"]]
    text = (tmp_path / "audit.jsonl").read_text()
    assert "secret" not in text
    assert not any(token in text for token in keys.tokens.values())
