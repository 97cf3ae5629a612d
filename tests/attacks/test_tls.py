"""Handshakes that are never done, old versions, strange certificates."""

import asyncio
import socket
import ssl
import subprocess
from contextlib import AsyncExitStack, suppress

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from tests import tools
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, call
from tests.attacks.target import PATIENCE_S
from tests.http2 import PREFACE, SETTINGS, connected, frame

pytestmark = pytest.mark.slow
HELLO = bytes.fromhex("1603010200010001fc0303")
"""The beginning of a ClientHello."""
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")
MANY = 300
PORTS = ("http_port", "grpc_port")


def port_of(target, name):
    return getattr(target.service, name)


UNFINISHED = {
    "silence": b"",
    "half a hello": HELLO,
    "a hello of nothing": HELLO + bytes(600),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28" * 100,
    "empty records": b"\x16\x03\x01\x00\x00" * 1_000,
    "an old hello": bytes.fromhex("802e010300001500000010") + bytes(40),
    "a request in plain text": b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n",
    "gRPC in plain text": PREFACE + frame(SETTINGS),
}


@pytest.mark.parametrize("port", PORTS)
async def test_handshakes_that_are_never_done(sealed, port):
    """They are hung up on in time, and get no answer in plain text."""
    async with besieged(sealed) as bystander, AsyncExitStack() as stack:
        raws = [
            await stack.enter_async_context(connected(port_of(sealed, port), first))
            for first in UNFINISHED.values()
            for _ in range(5)
        ]
        hung_up = await asyncio.gather(*(raw.is_hung_up(PATIENCE_S) for raw in raws))
        await bystander.is_served()
    assert all(hung_up)
    assert not any(b"HTTP/" in raw.received for raw in raws)


@pytest.mark.parametrize("port", PORTS)
async def test_hundreds_of_half_done_handshakes(sealed, port):
    """They leave room: the bystander keeps its connection, and a new caller gets one."""
    async with besieged(sealed) as bystander, AsyncExitStack() as stack:
        for _ in range(MANY):
            await stack.enter_async_context(connected(port_of(sealed, port), HELLO))
        await bystander.is_served()
        async with httpx.AsyncClient(
            verify=sealed.tls,
            transport=httpx.AsyncHTTPTransport(verify=sealed.tls, local_address="127.0.0.3"),
        ) as late:
            assert (await late.get(f"{sealed.url}/livez", timeout=PATIENCE_S)).status_code == 200
        async with sealed.channel([("grpc.use_local_subchannel_pool", 1)]) as late:
            metadata = tuple(sealed.bearing.items())
            assert (await call(late, ANSWER, REQUEST, metadata=metadata)).status == "OK"


async def test_a_handshake_of_a_byte_at_a_time(sealed):
    async with besieged(sealed), connected(sealed.service.http_port) as raw:
        for byte in HELLO * 40:
            if raw.is_closed or not await raw.write(bytes([byte])):
                break
            await asyncio.sleep(0.02)
        assert await raw.is_hung_up(PATIENCE_S)


async def test_callers_who_leave_in_the_handshake(sealed):
    async with besieged(sealed) as bystander:
        for port in PORTS:
            for _ in range(20):
                async with AsyncExitStack() as stack:
                    for _ in range(10):
                        await stack.enter_async_context(connected(port_of(sealed, port), HELLO))
        await bystander.is_served()


def stranger(**how):
    """TLS of a caller that trusts anybody and has no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in how.items():
        setattr(context, name, value)
    return context


async def shakes_hands(port, context, **how):
    """Whether a handshake succeeds, and the service takes a byte after it."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, **how)
            writer.write(PREFACE + frame(SETTINGS))
            received = await reader.read(1)
            writer.close()
            return bool(received)
    except (OSError, ssl.SSLError):
        return False


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions(sealed):
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = stranger()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        async with besieged(sealed):
            for port in PORTS:
                assert not await shakes_hands(port_of(sealed, port), context)


async def test_weak_ciphers(sealed):
    async with besieged(sealed):
        for ciphers in ("aNULL", "eNULL", "MD5:RC4:DES:3DES:EXPORT:PSK"):
            context = stranger()
            with suppress(ssl.SSLError):  # the library of this machine may have none of them
                context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                for port in PORTS:
                    assert not await shakes_hands(port_of(sealed, port), context)


async def test_renegotiation(sealed):
    """A caller could ask for handshake after handshake on one connection."""
    openssl = tools.program("openssl", "it asks for another handshake")
    command = [openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{sealed.service.http_port}"]
    async with besieged(sealed):
        done = await asyncio.to_thread(
            subprocess.run, command, input=b"R\n", capture_output=True, timeout=PATIENCE_S
        )
    said = done.stdout + done.stderr
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said or b"handshake failure" in said or done.returncode != 0


async def test_other_protocols_are_offered(sealed):
    async with besieged(sealed):
        for offered in (["h2"], ["http/1.1"], ["x" * 255] * 100, ["spdy/3"]):
            context = stranger()
            context.set_alpn_protocols(offered)
            for port in PORTS:
                await shakes_hands(port_of(sealed, port), context)


async def test_odd_names_of_the_server(sealed):
    async with besieged(sealed):
        for name in ("a" * 60 + "." + "b" * 60, "xn--a", "169.254.169.254", "a_b"):
            for port in PORTS:
                await shakes_hands(port_of(sealed, port), stranger(), server_hostname=name)


async def test_a_session_that_is_resumed_by_another(sealed, keys):
    """A ticket brings back a certificate, never a key."""
    async with besieged(sealed):
        context = sealed.tls
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session = None
        for _ in range(2):
            said, session = await asyncio.to_thread(_ask_in_session, sealed, context, session)
            assert b"401" in said.splitlines()[0]


def _ask_in_session(target, context, session):
    with (
        socket.create_connection(("127.0.0.1", target.service.http_port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls,
    ):
        tls.sendall(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        return tls.recv(4_000), tls.session


async def test_half_sent_headers_within_tls(sealed):
    async with besieged(sealed) as bystander:
        opened = [
            await asyncio.open_connection("127.0.0.1", sealed.service.http_port, ssl=sealed.tls)
            for _ in range(40)
        ]
        for _, writer in opened:
            writer.write(b"POST /v1/vqa HTTP/1.1\r\nhost: a\r\nx: ")
        await bystander.is_served()
        async with asyncio.timeout(PATIENCE_S):
            for reader, writer in opened:
                with suppress(OSError):
                    await reader.read()
                writer.close()


CONTROL = {
    "/mpa.v1.VersionService/ListVersions": versions_pb2.ListVersionsRequest(),
    "/mpa.v1.VersionService/PromoteVersion": versions_pb2.PromoteVersionRequest(name="v1"),
}


async def test_control_calls_on_the_public_port(sealed, keys):
    async with besieged(sealed), sealed.channel() as channel:
        for method, asked in CONTROL.items():
            for role in ("operate", "read"):
                metadata = (("authorization", f"Bearer {keys.tokens[role]}"),)
                outcome = await call(channel, method, asked, metadata=metadata)
                assert outcome.status == "UNIMPLEMENTED"


async def test_reflection_on_the_public_port(sealed, keys):
    name = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    metadata = (("authorization", f"Bearer {keys.tokens['operate']}"),)
    async with besieged(sealed), sealed.channel() as channel:
        reflecting = channel.stream_stream(name)(metadata=metadata)
        assert await reflecting.code() is grpc.StatusCode.UNIMPLEMENTED
