"""TLS and client certificates on both faces, and their renewal."""

import asyncio
import logging
import socket
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest

from services.core.errors import InvalidInput, MpaError, Unauthenticated
from services.environment import Environment
from services.rpc.access.access import Access
from services.rpc.access.credentials import Credentials
from services.rpc.access.settings import AccessSettings
from services.rpc.access.tls import TlsFiles
from services.rpc.client import Picture, StudentClient
from tests.rpc.access.authority import Authority
from tests.rpc.access.test_http import BODY
from tests.rpc.callers import serving
from tests.rpc.http.peers import http_peer, reason
from tests.waiting import until

PICTURE = Picture.of(b"an image")


def secure(**parts):
    """Access with TLS and without keys."""
    return Access(AccessSettings("MPA_STUDENT_", **parts))


@asynccontextmanager
async def grpc_peer(access):
    async with serving(access) as peer:
        yield f"grpcs://127.0.0.1:{peer.port}"


async def answer_of(address, **credentials):
    async with StudentClient(
        address, patience_s=0, credentials=Credentials(**credentials)
    ) as client:
        return (await client.answer(PICTURE, "why?", retry=False)).answer


async def test_grpc_with_tls_and_a_key(keys, tls, authority):
    async with grpc_peer(keys.access(tls=tls)) as address:
        key = keys.tokens["ask"]
        assert await answer_of(address, key=key, ca=authority.path) == "why?"
        with pytest.raises(MpaError, match="no service answers"):
            await answer_of(address, key=key)  # the system trusts other authorities
        with pytest.raises(MpaError, match="no service answers"):
            await answer_of(address.removeprefix("grpcs://"), key=key)
        with pytest.raises(Unauthenticated):
            await answer_of(address, ca=authority.path)


@pytest.mark.parametrize("form", ["grpcs://{0},{0}", "grpcs://{0},grpcs://localhost:{1}"])
async def test_replicas_with_tls(keys, tls, authority, form):
    async with grpc_peer(keys.access(tls=tls)) as address:
        host = address.removeprefix("grpcs://")
        several = form.format(host, host.rpartition(":")[2])
        assert await answer_of(several, key=keys.tokens["ask"], ca=authority.path) == "why?"


async def test_grpc_needs_a_client_certificate(tls, authority, tmp_path):
    files = TlsFiles(tls.certificate, tls.key, authority.path)
    async with grpc_peer(secure(tls=files)) as address:
        certificate, key = authority.issue("client")
        pair = {"certificate": certificate, "certificate_key": key}
        assert await answer_of(address, ca=authority.path, **pair) == "why?"
        with pytest.raises(MpaError, match="no service answers"):
            await answer_of(address, ca=authority.path)
        stranger = dict(zip(pair, Authority(tmp_path, "other").issue("stranger"), strict=True))
        with pytest.raises(MpaError, match="no service answers"):
            await answer_of(address, ca=authority.path, **stranger)


@pytest.mark.parametrize("name", ["bob", "bob.example"])
async def test_a_certificate_stands_for_a_key(keys, tls, authority, name):
    keys.add("bob", "ask", certificate=name)
    files = TlsFiles(tls.certificate, tls.key, authority.path)
    async with grpc_peer(keys.access(tls=files)) as address:
        known = dict(
            zip(
                ("certificate", "certificate_key"),
                authority.issue("bob", "bob.example"),
                strict=True,
            )
        )
        other = dict(zip(known, authority.issue("eve", "eve.example"), strict=True))
        assert await answer_of(address, ca=authority.path, **known) == "why?"
        with pytest.raises(Unauthenticated, match="needs a key"):
            await answer_of(address, ca=authority.path, **other)


async def test_a_name_that_goes_on_behind_a_nul_is_no_name(keys, tls, authority):
    """grpcio ends it at the NUL; `ssl` does not."""
    keys.add("bob", "ask", certificate="bob")
    access = keys.access(tls=TlsFiles(tls.certificate, tls.key, authority.path))
    pair = authority.issue("bob\0.evil")
    eve = dict(zip(("certificate", "certificate_key"), pair, strict=True))
    async with grpc_peer(access) as address, http_peer(access=access) as http:
        with pytest.raises(Unauthenticated):
            await answer_of(address, ca=authority.path, **eve)
        assert (await post(http, client_context(authority, *pair))).status_code == 401


def client_context(authority, *pair):
    context = ssl.create_default_context(cafile=authority.path)
    if pair:
        context.load_cert_chain(*pair)
    return context


async def post(peer, context, **headers):
    async with httpx.AsyncClient(verify=context, headers=headers) as client:
        url = f"https://127.0.0.1:{peer.port}/v1/vqa"
        json_ = {"content-type": "application/json"}
        return await client.post(url, content=BODY, headers=json_)


async def test_http_with_tls_and_a_key(keys, tls, authority):
    async with http_peer(access=keys.access(tls=tls)) as peer:
        header = {"authorization": f"Bearer {keys.tokens['ask']}"}
        reply = await post(peer, client_context(authority), **header)
        assert reply.json()["answer"] == "why?"
        with pytest.raises(httpx.ConnectError):
            await post(peer, ssl.create_default_context(), **header)
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.RemoteProtocolError):
                await plain.get(f"{peer.url}/livez")


async def test_http_needs_a_client_certificate_except_for_health(tls, authority, tmp_path):
    files = TlsFiles(tls.certificate, tls.key, authority.path)
    async with http_peer(access=secure(tls=files)) as peer:
        known = client_context(authority, *authority.issue("client"))
        assert (await post(peer, known)).json()["answer"] == "why?"
        refused = await post(peer, client_context(authority))
        assert (refused.status_code, reason(refused.content)) == (401, "CERTIFICATE_MISSING")
        async with httpx.AsyncClient(verify=client_context(authority)) as probe:
            assert (await probe.get(f"https://127.0.0.1:{peer.port}/livez")).status_code == 200
        stranger = Authority(tmp_path, "other").issue("stranger")
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            await post(peer, client_context(authority, *stranger))


async def test_callers_in_the_systems_queue_meet_tls_too(keys, tls, authority):
    """A service that leaves accepts them all; one of them never shakes hands."""
    async with http_peer(access=keys.access(tls=tls)) as peer:
        address = "127.0.0.1", peer.port
        good, silent, plain = (socket.create_connection(address) for _ in range(3))
        plain.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        leaving = asyncio.create_task(peer.http.stop_listening())
        await asyncio.sleep(0)
        context = client_context(authority)
        reader, writer = await asyncio.open_connection(
            sock=good, ssl=context, server_hostname="127.0.0.1"
        )
        writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(30):
            await leaving
            unsafe, _ = await asyncio.open_connection(sock=plain)
            assert b"HTTP/1.1" not in await unsafe.read()
        writer.close()
        silent.close()


async def test_a_certificate_stands_for_a_key_over_http(keys, tls, authority):
    keys.add("bob", "ask", certificate="bob")
    files = TlsFiles(tls.certificate, tls.key, authority.path)
    async with http_peer(access=keys.access(tls=files)) as peer:
        bob = client_context(authority, *authority.issue("bob"))
        assert (await post(peer, bob)).json()["answer"] == "why?"
        eve = client_context(authority, *authority.issue("eve"))
        refused = await post(peer, eve)
        assert (refused.status_code, reason(refused.content)) == (401, "KEY_MISSING")


async def certificate_at(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_a_renewed_certificate_is_used_without_a_restart(tls, authority):
    access = secure(tls=tls)
    async with grpc_peer(access) as address, http_peer(access=access) as http:
        ports = int(address.rpartition(":")[2]), http.port
        before = [await certificate_at(port) for port in ports]
        assert before[0] == before[1]
        tls.key.write_text("not yet whole")
        authority.issue("service")
        found = before
        while found[0] == before[0] or found[1] == before[1]:
            found = [await certificate_at(port) for port in ports]
        assert found[0] == found[1]
        assert await answer_of(address, ca=authority.path) == "why?"


async def test_a_damaged_certificate_leaves_the_last_good_one(tls, authority, caplog):
    access = secure(tls=tls)
    async with grpc_peer(access) as address, http_peer(access=access) as http:
        tls.certificate.write_text("damaged")
        await until(lambda: "the certificates stay as they were" in caplog.text)
        assert await answer_of(address, ca=authority.path) == "why?"
        assert (await post(http, client_context(authority))).status_code == 200


def test_files_that_fit_no_service_are_refused(tls, authority, tmp_path):
    wrong = authority.issue("another")[1]
    for files in (
        TlsFiles(tls.certificate, wrong),
        TlsFiles(tmp_path / "none", tls.key),
        TlsFiles(tls.certificate, tls.key, tmp_path / "none"),
        TlsFiles(tls.certificate, tls.key, tls.key),
    ):
        with pytest.raises(InvalidInput, match="TLS"):
            secure(tls=files)


def test_settings_name_the_missing_file():
    env = Environment("MPA_STUDENT_", {"MPA_STUDENT_TLS_CERT": "x"})
    with pytest.raises(InvalidInput, match="MPA_STUDENT_TLS_KEY is missing"):
        TlsFiles.from_environment(env)
    env = Environment("MPA_STUDENT_", {"MPA_STUDENT_TLS_CLIENT_CA": "x"})
    with pytest.raises(InvalidInput, match="MPA_STUDENT_TLS_CERT is missing"):
        TlsFiles.from_environment(env)


async def test_another_client_authority_needs_no_restart(tls, authority, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.path.read_bytes())
    other = Authority(tmp_path, "other")
    ours, theirs = authority.issue("ours"), other.issue("theirs")
    access = secure(tls=TlsFiles(tls.certificate, tls.key, ca))
    async with grpc_peer(access) as address, http_peer(access=access) as http:

        async def is_admitted(pair):
            named = dict(zip(("certificate", "certificate_key"), pair, strict=True))
            try:
                await answer_of(address, ca=authority.path, **named)
                return (await post(http, client_context(authority, *pair))).is_success
            except (MpaError, httpx.TransportError):
                return False

        assert (await is_admitted(ours), await is_admitted(theirs)) == (True, False)
        ca.write_bytes(other.path.read_bytes())
        await until(lambda: caplog.text.count("the certificates are renewed") >= 1)
        assert (await is_admitted(ours), await is_admitted(theirs)) == (False, True)
        ca.write_text("no certificate")
        await until(lambda: "the certificates stay as they were" in caplog.text)
        assert await is_admitted(theirs)
