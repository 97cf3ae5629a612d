"""Callers without the right key: nothing that they send is carried out, and nobody is harmed."""

import asyncio
import json

import grpc
import pytest

from services.rpc.access.roles import NEEDED
from tests.attacks.attack import Attack, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, STUDENT_METHODS, call_once, raw, request
from tests.rpc.access.test_http import BODY
from tests.waiting import until

pytestmark = pytest.mark.slow
SERVED = [name for name in STUDENT_METHODS if name in NEEDED]
UNKNOWN = f"mpa-00000000-{'a' * 43}"


def over_grpc(name, method, metadata, expected=("UNAUTHENTICATED",)):
    async def send(target):
        return await call_once(target.address, method, b"", metadata=metadata)

    return Attack(f"gRPC: {name}", send, expected)


def bearing(token):
    return (("authorization", f"Bearer {token}"),)


async def test_no_method_is_open_to_strangers(guarded, keys):
    """Without a key, with one that is unknown, expired or revoked, and without the role."""
    lacking = {
        method: next(role for role in ("ask", "read", "train") if role not in NEEDED[method])
        for method in SERVED
    }
    async with besieged(guarded):
        for method in SERVED:
            for metadata in (
                (),
                bearing(UNKNOWN),
                bearing(keys.tokens["expired"]),
                bearing(keys.tokens["revoked"]),
            ):
                outcome = await call_once(guarded.address, method, b"", metadata=metadata)
                assert outcome.status == "UNAUTHENTICATED", (method, metadata, outcome)
            metadata = bearing(keys.tokens[lacking[method]])
            outcome = await call_once(guarded.address, method, b"", metadata=metadata)
            assert outcome.status == "PERMISSION_DENIED", (method, lacking[method], outcome)


ODD = [
    ("an empty value", (("authorization", ""),)),
    ("spaces", (("authorization", " " * 1000),)),
    ("a key of 6,000 characters", bearing("mpa-00000000-" + "a" * 6_000)),
    ("a header of 6,000 words", (("authorization", "Bearer " * 800),)),
    ("a binary header", (("authorization-bin", b"Bearer key"),)),
    ("100 headers", tuple(("authorization", "Bearer x") for _ in range(100))),
    ("a header of a proxy", (("x-forwarded-client-cert", 'Subject="CN=ask"'),)),
    ("an address of this machine", (("x-forwarded-for", "127.0.0.1"),)),
    ("an authority of this machine", (("x-envoy-internal", "true"),)),
]


@pytest.mark.parametrize(("name", "metadata"), ODD, ids=[name for name, _ in ODD])
async def test_odd_metadata_opens_nothing(guarded, name, metadata):
    await withstand(guarded, over_grpc(name, ANSWER, metadata))


async def test_metadata_of_a_megabyte_opens_nothing(guarded):
    attack = over_grpc(
        "a megabyte",
        ANSWER,
        bearing("a" * 2**20),
        ("RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "UNKNOWN", "CANCELLED"),
    )
    await withstand(guarded, attack)


HEAD = f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n"
LINES = {
    "an absolute address": ("POST http://127.0.0.1/v1/vqa HTTP/1.1", ""),
    "an absolute address of another": ("POST http://livez/v1/vqa HTTP/1.1", ""),
    "HTTP/1.0": ("POST /v1/vqa HTTP/1.0", ""),
    "two lengths": ("POST /v1/vqa HTTP/1.1", "content-length: 1\r\n"),
    "a length and chunks": ("POST /v1/vqa HTTP/1.1", "transfer-encoding: chunked\r\n"),
    "a header over two lines": ("POST /v1/vqa HTTP/1.1", "authorization: Bearer\r\n KEY\r\n"),
    "a blank before the colon": ("POST /v1/vqa HTTP/1.1", "authorization : Bearer KEY\r\n"),
    "a NUL in the key": ("POST /v1/vqa HTTP/1.1", "authorization: Bearer \0KEY\r\n"),
    "a key for two": (
        "POST /v1/vqa HTTP/1.1",
        "authorization: Bearer KEY\r\nAUTHORIZATION: Bearer KEY\r\n",
    ),
    "an upgrade": ("POST /v1/vqa HTTP/1.1", "connection: upgrade\r\nupgrade: h2c\r\n"),
    "a method for another": ("POST /livez HTTP/1.1", "x-http-method-override: GET\r\n"),
    "a connection to itself": ("CONNECT 127.0.0.1:3000 HTTP/1.1", ""),
    "a debugging method": ("TRACE /v1/vqa HTTP/1.1", ""),
    "a question to all": ("OPTIONS * HTTP/1.1", ""),
    "gRPC over HTTP/1.1": (
        "POST /mpa.v1.StudentService/Answer HTTP/1.1",
        "content-type: application/grpc\r\n",
    ),
    "gRPC-web": (
        "POST /mpa.v1.StudentService/Answer HTTP/1.1",
        "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n",
    ),
    "a slash more": ("POST //v1/vqa HTTP/1.1", ""),
    "a slash at the end": ("POST /v1/vqa/ HTTP/1.1", ""),
    "an encoded slash": ("POST /v1%2fvqa HTTP/1.1", ""),
    "an open path upwards": ("POST /livez/../v1/vqa HTTP/1.1", ""),
    "a fragment": ("POST /v1/vqa#/livez HTTP/1.1", ""),
    "a query": ("POST /v1/vqa?access_token=KEY HTTP/1.1", ""),
}


@pytest.mark.parametrize("name", LINES)
async def test_no_form_of_a_request_goes_round_the_key(guarded, keys, name):
    line, header = (
        part.replace("KEY", keys.tokens["read"]) for part in LINES[name]
    )  # a key without the role `ask`: whatever arrives of it opens nothing

    async def send(target):
        sent = f"{line}\r\nhost: x\r\n{header}{HEAD}\r\n{BODY}"
        return await raw(target.service.http_port, sent.encode("latin-1"))

    refused = ("400", "401", "403", "404", "405", "426", "CLOSED")
    await withstand(guarded, Attack(name, send, refused))


async def test_a_smuggled_request_needs_a_key_of_its_own(guarded, keys):
    """The second request comes in the body of an admitted one."""
    inner = f"POST /v1/vqa HTTP/1.1\r\nhost: x\r\n{HEAD}\r\n{BODY}"
    outer = f"GET /livez HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {keys.tokens['ask']}\r\n\r\n"

    async def send(target):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.service.http_port)
        writer.write((outer + inner).encode())
        received = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert b'"answer"' not in received
        return await raw(target.service.http_port, inner.encode())

    await withstand(guarded, Attack("a smuggled request", send, ("401",)))


async def test_thousands_of_guesses_lock_nobody_out(guarded, keys):
    files = {"image": IMAGE}

    async def guess(number):
        token = f"mpa-{keys.ids['ask']}-{number:043d}"
        over_http = await request(
            guarded.url, files=files, headers={"authorization": f"Bearer {token}"}
        )
        assert over_http.status == "401"

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with besieged(guarded):
        async with grpc.aio.insecure_channel(guarded.address, options=options) as channel:
            answer = channel.unary_unary(ANSWER)

            async def call(number):
                token = f"mpa-{keys.ids['ask']}-{number:043d}"
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await answer(b"", metadata=bearing(token), timeout=60)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

            for first in range(0, 2000, 100):
                await asyncio.gather(*(call(first + number) for number in range(100)))
        for first in range(0, 200, 20):
            await asyncio.gather(*(guess(first + number) for number in range(20)))


async def test_the_log_and_the_metrics_hold_no_key(guarded, keys):
    header = {"authorization": f"Bearer {keys.tokens['read']}"}
    found = await request(guarded.url, "GET", "/metrics", headers=header)
    texts = found.said + guarded.log_since(0)
    assert not any(token in texts for token in keys.tokens.values())


async def test_a_damaged_or_missing_file_of_keys_changes_nothing(guarded, keys):
    whole = keys.path.read_bytes()
    before = guarded.log_size()
    try:
        async with besieged(guarded):
            for content in (b"", b"[]", b"\xff", json.dumps({"keys": [{}]}).encode()):
                keys.path.write_bytes(content)
            keys.path.unlink()
            await until(lambda: "the keys stay as they were" in guarded.log_since(before))
            outcome = await call_once(guarded.address, ANSWER, b"")
            assert outcome.status == "UNAUTHENTICATED"
    finally:
        keys.path.write_bytes(whole)
