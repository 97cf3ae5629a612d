"""Keys in front of real HTTP requests."""

import asyncio
import base64
import json

import httpx
import pytest

from tests.rpc.http.peers import get, http_peer, read_reply, reason
from tests.waiting import until

BODY = json.dumps({"image": base64.b64encode(b"an image").decode(), "question": "why?"})


@pytest.fixture
async def peer(keys):
    async with http_peer(access=keys.access()) as peer:
        yield peer


async def ask(peer, path="/v1/vqa", method="POST", **headers):
    async with httpx.AsyncClient() as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"content-type": "application/json", **named}
        return await client.request(method, peer.url + path, content=BODY, headers=sent)


async def test_a_key_opens_what_its_role_allows(peer, keys):
    reply = await ask(peer, authorization=f"Bearer {keys.tokens['ask']}")
    assert reply.json()["answer"] == "why?"
    refused = await ask(peer, authorization=f"Bearer {keys.tokens['read']}")
    assert refused.status_code == 403
    assert reason(refused.content) == "ROLE_MISSING"
    assert "ask" in refused.text


async def test_without_a_key_the_reply_names_the_form(peer):
    refused = await ask(peer)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert reason(refused.content) == "KEY_MISSING"
    assert peer.servicer.begun == 0


@pytest.mark.parametrize(
    "tricked",
    [
        {"path": "/v1/vqa?key=KEY"},
        {"path": "/v1/vqa?authorization=Bearer%20KEY"},
        {"x_api_key": "KEY"},
        {"authorization": "KEY"},
        {"authorization": "Basic KEY"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer KEY, Bearer KEY"},
        {"proxy_authorization": "Bearer KEY"},
        {"cookie": "authorization=Bearer KEY"},
        {"x_forwarded_for": "127.0.0.1"},
        {"x_real_ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x_forwarded_client_cert": 'Subject="CN=ask"'},
        {"x_http_method_override": "GET"},
        {"x_original_url": "/livez"},
    ],
    ids=str,
)
async def test_no_other_place_takes_a_key(peer, keys, tricked):
    filled = {name: value.replace("KEY", keys.tokens["ask"]) for name, value in tricked.items()}
    refused = await ask(peer, **filled)
    assert refused.status_code == 401
    assert keys.tokens["ask"] not in refused.text
    assert peer.servicer.begun == 0


@pytest.mark.parametrize(
    "path",
    [
        "//v1/vqa",
        "/v1/vqa/",
        "/v1//vqa",
        "/v1/vqa%2f",
        "/livez/../v1/vqa",
        "/livez/%2e%2e/v1/vqa",
        "/./v1/vqa",
        "/V1/VQA",
        "/v1/vqa;/livez",
        "/v1/vqa%00",
        "/v1/%76qa/x",
        "/livez%3f/v1/vqa",
        "/mpa.v1.StudentService/Answer",
    ],
)
@pytest.mark.parametrize("has_key", [False, True])
async def test_no_other_path_leads_in(peer, keys, path, has_key):
    key = f"authorization: Bearer {keys.tokens['ask']}\r\n" if has_key else ""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{key}content-length: {len(BODY)}\r\n\r\n"
    reader, _ = await peer.connect(head.encode() + BODY.encode())
    status, _, _ = await read_reply(reader)
    assert status in (404, 400)
    assert peer.servicer.begun == 0


async def test_an_encoded_path_needs_the_same_key(peer):
    refused = await ask(peer, path="/v1/%76qa")
    assert refused.status_code == 401


async def test_a_header_twice_is_refused(peer, keys):
    header = f"authorization: Bearer {keys.tokens['ask']}"
    reader, _ = await peer.connect(
        get("/metrics", header, f"Authorization: Bearer {keys.tokens['read']}")
    )
    status, _, body = await read_reply(reader)
    assert (status, reason(body)) == (401, "KEY_MALFORMED")


async def test_a_trailer_is_no_header(peer, keys):
    """A proxy that looks at headers sees no key, or another one."""
    chunks = f"{len(BODY):x}\r\n{BODY}\r\n0\r\nauthorization: Bearer {keys.tokens['ask']}\r\n\r\n"
    head = "POST /v1/vqa HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    reader, _ = await peer.connect((head + chunks).encode())
    status, _, body = await read_reply(reader)
    assert (status, reason(body)) == (401, "KEY_MISSING")
    assert peer.servicer.begun == 0


async def test_a_request_under_way_ends_with_its_key(peer, keys):
    peer.servicer.open.clear()
    asking = asyncio.create_task(ask(peer, authorization=f"Bearer {keys.tokens['ask']}"))
    await until(lambda: peer.servicer.begun == 1)
    keys.revoke("ask")
    watching = asyncio.create_task(peer.entrance.access.watch())
    refused = await asking
    watching.cancel()
    assert (refused.status_code, reason(refused.content)) == (401, "KEY_ENDED")
    assert peer.servicer.cancelled == 1


async def test_a_huge_header_is_refused(peer):
    reply = await peer.exchange(get("/metrics", "authorization: Bearer " + "a" * 2**17))
    assert reply.startswith(b"HTTP/1.1 431")


async def test_health_is_open_and_metrics_are_not(peer, keys):
    async with httpx.AsyncClient(base_url=peer.url) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/livez", headers={"authorization": "x"})).status_code == 200
        assert (await client.get("/metrics")).status_code == 401
        header = {"authorization": f"Bearer {keys.tokens['read']}"}
        assert (await client.get("/metrics", headers=header)).status_code == 200


async def test_a_refused_body_is_not_kept(peer):
    refused = await ask(peer)
    assert refused.status_code == 401
    assert peer.entrance.uploads.total == 0


async def test_a_quota_counts_keys_and_not_addresses(keys):
    keys.add("another", "ask")
    async with http_peer(access=keys.access(), requests_per_caller=1) as peer:
        peer.servicer.open.clear()
        body = BODY.encode()

        def asking(name):
            head = (
                f"POST /v1/vqa HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                f"authorization: Bearer {keys.tokens[name]}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            return head.encode() + body

        first, _ = await peer.connect(asking("ask"))
        await until(lambda: peer.servicer.begun == 1)
        second, _ = await peer.connect(asking("ask"))
        status, _, _ = await read_reply(second)
        assert status == 429
        third, _ = await peer.connect(asking("another"))
        await until(lambda: peer.servicer.begun == 2)
        peer.servicer.open.set()
        assert [(await read_reply(each))[0] for each in (first, third)] == [200, 200]
