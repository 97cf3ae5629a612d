"""Bodies over a real port: too large, damaged, nested, doubled; each is a 4xx with a reason."""

import asyncio
import base64
import json

import httpx
import pytest

from services.engines.images import MAX_BYTES
from services.rpc.http.form import MOST_FORM_BYTES, MOST_JSON_BYTES
from services.rpc.http.limits import Quota
from tests.rpc.http.peers import http_peer, post, read_reply, reason
from tests.waiting import until

IMAGE = base64.b64encode(b"hi").decode()


def part(name, value, extra="", filename=""):
    named = f'; filename="{filename}"' if filename else ""
    return f'--b\r\ncontent-disposition: form-data; name="{name}"{named}\r\n{extra}\r\n{value}\r\n'


def form(*parts, end="--b--\r\n", content_type="multipart/form-data; boundary=b"):
    return post(("".join(parts) + end).encode("utf-8", "surrogatepass"), content_type)


def body(**fields):
    return json.dumps({"image": IMAGE, "question": "what?", **fields}).encode()


PICTURE = part("image", "hi", filename="a.png")
WRONG = {
    "nested arrays": post(b"[" * 100_000),
    "nested 1,000 deep": post(b'{"image": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
    "nested objects": post(b'{"a":' * 1_500 + b"1" + b"}" * 1_500),
    "a million values": post(b'{"image": [' + b"1," * 1_000_000 + b"1]}"),
    "a lone surrogate": post(b'{"image": "aGk=", "question": "\\ud800"}'),
    "a lone surrogate as a name": post(b'{"image": "aGk=", "\\ud800": "what?"}'),
    "no UTF-8": post(b'{"image": "\xff"}'),
    "not JSON": post(b"hello"),
    "NaN": post(b'{"image": NaN}'),
    "an enormous number": post(b'{"image": "aGk=", "question": ' + b"9" * 100_000 + b"}"),
    "a float without end": post(b'{"image": "aGk=", "question": 1e999}'),
    "a list": post(b'["image"]'),
    "a string": post(b'"image"'),
    "null": post(b"null"),
    "a number": post(b"5"),
    "nothing": post(b""),
    "NUL": post(b"\x00"),
    "an empty object": post(b"{}"),
    "image is a number": post(body(image=5)),
    "image is null": post(body(image=None)),
    "question is a number": post(body(question=5)),
    "question is an object": post(body(question={})),
    "version is a list": post(body(version=["v1"])),
    "a field twice": post(b'{"image": "aGk=", "question": "a", "question": "b"}'),
    "no base64": post(body(image="?!")),
    "base64 that is cut off": post(body(image="aGk")),
    "base64 with an accent": post(body(image="aGké")),
    "a form without a boundary": form(PICTURE, content_type="multipart/form-data"),
    "a form with a wrong boundary": form(PICTURE, content_type="multipart/form-data; boundary=c"),
    "a form with an endless boundary": form(
        PICTURE, content_type="multipart/form-data; boundary=" + "b" * 10_000
    ),
    "a form with an empty boundary": form(PICTURE, content_type="multipart/form-data; boundary="),
    "a form without an end": form(PICTURE, end=""),
    "a form of nothing": form(end=""),
    "a part without a name": form("--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n", PICTURE),
    "a part without a disposition": form("--b\r\nx: y\r\n\r\nx\r\n", PICTURE),
    "two images": form(PICTURE, PICTURE),
    "a question twice": form(PICTURE, part("question", "a"), part("question", "b")),
    "many parts": form(PICTURE, *[part(f"f{n}", "x") for n in range(1_000)]),
    "a field that is too long": form(PICTURE, part("question", "x" * 200_000)),
    "a question as a file": form(PICTURE, part("question", "what?", filename="q.txt")),
    "an image as a field": form(part("image", "hi")),
    "a part with long headers": form(
        part("question", "x", extra=f"x: {'y' * 100_000}\r\n"), PICTURE
    ),
    "a part with many headers": form(part("question", "x", extra="x: y\r\n" * 10_000), PICTURE),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_body_is_a_400_with_a_reason(name):
    async with http_peer() as peer:
        reader, _ = await peer.connect(WRONG[name])
        status, headers, said = await read_reply(reader)
        assert status == 400, said
        assert reason(said) in ("INVALID_INPUT", "IMAGE_UNREADABLE")
        assert headers["content-type"] == "application/json"
        assert len(said) < 500, "not the caller's text back"
        assert peer.servicer.begun == 0
        assert peer.entrance.uploads.total == 0


@pytest.mark.parametrize(
    "charset", ["nope", "utf-16", "idna", "rot13", "base64", "\xff", "latin-1", "\0", "x" * 9_000]
)
@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=b", "application/json"])
async def test_a_charset_that_is_not_utf8_is_refused(charset, content_type):
    async with http_peer() as peer:
        sent = form(
            PICTURE, part("question", "what?"), content_type=f"{content_type}; charset={charset}"
        )
        reader, _ = await peer.connect(sent)
        status, _, said = await read_reply(reader)
        assert (status, reason(said)) in ((400, "INVALID_INPUT"), (400, "INVALID_REQUEST")), said


async def test_a_charset_that_is_utf8_is_taken():
    async with http_peer() as peer:
        content_type = 'multipart/form-data; charset="UTF-8"; boundary=b'
        reader, _ = await peer.connect(
            form(PICTURE, part("question", "w\u00e4s?"), content_type=content_type)
        )
        assert json.loads((await read_reply(reader))[2])["answer"] == "w\u00e4s?"


async def test_a_field_that_is_no_utf8_is_refused():
    async with http_peer() as peer:
        sent = (PICTURE + part("question", "w\u00e4s?")).encode("latin-1") + b"--b--\r\n"
        reader, _ = await peer.connect(post(sent, "multipart/form-data; boundary=b"))
        status, _, said = await read_reply(reader)
        assert (status, reason(said)) == (400, "INVALID_INPUT")


async def test_both_kinds_of_body_are_read():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url) as client:
        as_json = await client.post("/v1/vqa", json={"image": IMAGE, "question": "what?"})
        as_form = await client.post("/v1/vqa", files={"image": b"hi"}, data={"question": "wäs?"})
        as_url = await client.post(
            "/v1/vqa", json={"image": f"data:image/png;base64,{IMAGE}", "question": "what, now?"}
        )
    assert [reply.json()["answer"] for reply in (as_json, as_form, as_url)] == [
        "what?",
        "wäs?",
        "what, now?",
    ]


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(content_type):
    async with http_peer() as peer:
        reader, _ = await peer.connect(post(b"", content_type, length=2 * MOST_JSON_BYTES))
        status, _, said = await read_reply(reader)
        assert (status, reason(said)) == (413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_body_of_unknown_length_is_counted_while_it_comes(content_type):
    head = (
        "POST /v1/vqa HTTP/1.1\r\nhost: x\r\n"
        f"content-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    start = (
        part("image", "", filename="a.png").encode()
        if content_type.startswith("multipart")
        else b'{"image": "'
    )
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    most = MOST_FORM_BYTES if content_type.startswith("multipart") else MOST_JSON_BYTES
    async with http_peer() as peer:
        reader, writer = await peer.connect(head, b"%x\r\n%s\r\n" % (len(start), start))
        reply = asyncio.create_task(read_reply(reader))
        sent = 0
        while not reply.done() and sent < 2**31:
            writer.write(chunk)
            await asyncio.gather(writer.drain(), return_exceptions=True)
            sent += 65_536
        status, _, said = await reply
        assert (status, reason(said)) == (413, "REQUEST_TOO_LARGE")
        assert sent < most + 16 * 2**20, "what lies in buffers comes on top"
        assert peer.entrance.uploads.total == 0


async def test_an_image_of_the_largest_size_is_taken():
    async with http_peer() as peer, httpx.AsyncClient(base_url=peer.url, timeout=60) as client:
        image = b"\0" * MAX_BYTES
        as_form = await client.post("/v1/vqa", files={"image": image}, data={"question": "form"})
        as_json = await client.post(
            "/v1/vqa", json={"image": base64.b64encode(image).decode(), "question": "json"}
        )
    assert (as_form.json()["answer"], as_json.json()["answer"]) == ("form", "json")


async def test_uploads_have_a_limit_together():
    async with (
        http_peer(upload_mib=1, upload_mib_per_caller=1) as peer,
        httpx.AsyncClient(base_url=peer.url) as client,
    ):
        halfway = await peer.connect(post(b" " * 800_000, length=900_000))
        await until(lambda: peer.entrance.uploads.total >= 800_000)
        refused = await client.post("/v1/vqa", json={"image": IMAGE * 80_000, "question": "what?"})
        assert (refused.status_code, reason(refused.content)) == (429, "OVERLOADED")
        assert int(refused.headers["retry-after"]) >= 1
        assert (
            await client.post("/v1/vqa", json={"image": IMAGE, "question": "what?"})
        ).status_code == 200
        halfway[1].close()
        await until(lambda: peer.entrance.uploads.total == 0)


def test_a_quota_is_for_all_and_for_each():
    quota = Quota("things", 3, 2)
    quota.take("a", 2)
    for caller, amount in (("a", 1), ("b", 2)):
        with pytest.raises(Exception, match="things"):
            quota.take(caller, amount)
    quota.take("b")
    quota.give_back("a", 2)
    quota.take("b")
    assert quota.total == 2
