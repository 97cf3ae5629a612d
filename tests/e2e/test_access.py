"""Services among strangers: keys, TLS and a control port on real processes, and refused starts."""

import json
import os
import ssl
import subprocess
import sys

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2_grpc, versions_pb2, versions_pb2_grpc
from services.orchestrator.endpoints.processes import free_ports
from tests.attacks.bystander import IMAGE
from tests.e2e.processes import SERVICES, ServiceProcess, serving
from tests.rpc.access.authority import Authority
from tests.rpc.access.keyring import bearing, one_key_for_each_role
from tests.serving import fake_checkpoint
from tests.waiting import until_true

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A student with keys, TLS and a control port, for everybody: process, keys, authority."""
    folder = tmp_path_factory.mktemp("guarded")
    keys, authority = one_key_for_each_role(folder), Authority(folder)
    certificate, key = authority.issue("service")
    (control_port,) = free_ports(1)
    settings = {
        "model": fake_checkpoint(folder / "model", skill=1.0),
        "store": folder / "store",
        "keys": keys.path,
        "tls_cert": certificate,
        "tls_key": key,
        "control_port": control_port,
    }
    with serving("student", folder, wait=False, **settings) as service:
        until_true(
            lambda: "student: ready" in service.log.read_text(), describe=service.log.read_text
        )
        yield service, control_port, keys, authority


def orchestrate(authority, token, *arguments):
    env = {**os.environ, "MPA_KEY": token, "MPA_TLS_CA": str(authority.path)}
    command = [sys.executable, "-m", "services.orchestrator.cli.main", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_both_faces_are_encrypted_and_need_a_key(guarded, tmp_path):
    service, _, keys, authority = guarded
    url = f"https://127.0.0.1:{service.http_port}"
    trusted = ssl.create_default_context(cafile=authority.path)
    with httpx.Client(base_url=url, verify=trusted) as client:
        assert client.get("/readyz").status_code == 200
        files, fields = {"image": IMAGE}, {"question": "what?"}
        assert client.post("/v1/vqa", files=files, data=fields).status_code == 401
        header = {"authorization": f"Bearer {keys.tokens['ask']}"}
        assert client.post("/v1/vqa", files=files, data=fields, headers=header).is_success
        assert client.get("/metrics", headers=header).status_code == 403
        header = {"authorization": f"Bearer {keys.tokens['read']}"}
        assert "mpa_requests_total" in client.get("/metrics", headers=header).text
    image = tmp_path / "image.png"
    image.write_bytes(IMAGE)
    address = f"grpcs://{service.address}"
    asked = orchestrate(authority, keys.tokens["ask"], "ask", image, "what?", "--student", address)
    assert asked.returncode == 0, asked.stderr
    refused = orchestrate(authority, "", "ask", image, "what?", "--student", address)
    assert refused.returncode == 1
    assert "needs a key" in refused.stderr and "MPA_KEY" in refused.stderr
    shown = orchestrate(authority, keys.tokens["read"], "status", url, "--seconds", "0.2")
    assert shown.returncode == 0, shown.stderr


def test_control_calls_have_a_port_of_their_own(guarded):
    service, control_port, keys, authority = guarded
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
    request, metadata = versions_pb2.ListVersionsRequest(), bearing(keys.tokens["read"])
    with grpc.secure_channel(service.address, credentials) as public:
        with pytest.raises(grpc.RpcError) as error:
            versions_pb2_grpc.VersionServiceStub(public).ListVersions(request, metadata=metadata)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert student_pb2_grpc.StudentServiceStub(public)
    with grpc.secure_channel(f"127.0.0.1:{control_port}", credentials) as control:
        reply = versions_pb2_grpc.VersionServiceStub(control).ListVersions(
            request, metadata=metadata
        )
        assert reply.live == "v1"
    address = f"grpcs://127.0.0.1:{control_port}"
    listed = orchestrate(
        authority, keys.tokens["read"], "versions", "list", "--student", address, "--json"
    )
    assert listed.returncode == 0, listed.stderr
    back = orchestrate(authority, keys.tokens["operate"], "rollback", "--student", address)
    assert back.returncode == 1, "there is no earlier version"
    audit = (service.log.parent / "store" / "audit.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in audit]
    assert [line["action"] for line in found] == ["RollbackVersion"] * 2
    assert {line["key"] for line in found} == {keys.ids["operate"]}


def test_no_key_is_in_the_log(guarded):
    service, _, keys, _ = guarded
    log = service.log.read_text()
    assert not any(token in log for token in keys.tokens.values())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_service_that_strangers_can_reach_needs_keys(tmp_path, host):
    model = fake_checkpoint(tmp_path / "model")
    settings = {"model": model, "store": tmp_path / "store", "host": host}
    with serving("student", tmp_path, wait=False, **settings) as service:
        ends_with(service, "MPA_STUDENT_KEYS")


def test_a_missing_file_of_keys_ends_the_start(tmp_path):
    model = fake_checkpoint(tmp_path / "model")
    settings = {"model": model, "store": tmp_path / "store", "keys": tmp_path / "none"}
    with serving("student", tmp_path, wait=False, **settings) as service:
        ends_with(service, "make one with `mpa-orch keys add")


def test_a_host_for_http_alone_needs_keys_too(tmp_path):
    http_port, grpc_port = free_ports(2)
    env = {
        **os.environ,
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "MPA_STUDENT_GRPC_PORT": str(grpc_port),
        "MPA_STUDENT_ENGINE": "fake",
        "MPA_STUDENT_MODEL": str(fake_checkpoint(tmp_path / "model")),
        "MPA_STUDENT_STORE": str(tmp_path / "store"),
    }
    log = tmp_path / "log"
    command = [sys.executable, "-m", "bentoml", "serve", SERVICES["student"]]
    listen = ["--host", "0.0.0.0", "--port", str(http_port)]
    with log.open("w") as output:
        process = subprocess.Popen([*command, *listen], env=env, stdout=output, stderr=output)
    service = ServiceProcess(process, http_port, grpc_port, log)
    try:
        ends_with(service, "MPA_STUDENT_KEYS")
    finally:
        service.terminate()


def ends_with(service, words):
    until_true(lambda: service.process.poll() is not None, describe=service.log.read_text)
    assert words in service.log.read_text()
