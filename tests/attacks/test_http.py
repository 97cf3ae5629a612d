"""Complete but wrong HTTP requests: bodies, headers, methods, paths."""

import base64
import json

import pytest

from tests.attacks.attack import over_http, over_socket, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import request

pytestmark = pytest.mark.slow
ENCODED = base64.b64encode(IMAGE).decode()
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
TAKEN = ("200", "400")
TOO_MUCH = ("400", "413", "414", "431", "CLOSED")
QUESTION = b'--b\r\ncontent-disposition: form-data; name="question"\r\n\r\nwhat?\r\n'
PICTURE = (
    b'--b\r\ncontent-disposition: form-data; name="image"; filename="i.png"\r\n'
    b"content-type: image/png\r\n\r\n" + IMAGE + b"\r\n"
)


def body(**fields):
    return json.dumps({"image": ENCODED, "question": "what?", **fields}).encode()


def posted(name, content, expected=("400",), **headers):
    return over_http(name, content=content, headers={**JSON, **headers}, expected=expected)


def form(name, content, expected=("400",), **headers):
    return over_http(name, content=content, headers={**FORM, **headers}, expected=expected)


BODIES = [
    posted("nothing", b""),
    posted("no JSON", b"{"),
    posted("a list", b"[]"),
    posted("null", b"null"),
    posted("nested 1,000 deep", b'{"image":' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
    posted("nested 100,000 deep", b"[" * 100_000),
    posted("objects nested 100,000 deep", b'{"a":' * 100_000),
    posted("a number of 10,000 digits", b'{"image": ' + b"9" * 10_000 + b"}"),
    posted("not a number", b'{"image": NaN, "question": Infinity}'),
    posted("a lone surrogate as question", body(question="\ud800"), TAKEN),
    posted("a lone surrogate as version", body(version="\udfff"), ("400", "404")),
    posted("a lone surrogate as image", body(image="\ud800")),
    posted("a lone surrogate as key", body(**{"\ud800": "x"}), TAKEN),
    posted("NUL as question", body(question="\0"), TAKEN),
    posted("NUL as version", body(version="v1\0"), ("400", "404")),
    posted("a version upwards", body(version="../../v1"), ("400", "404")),
    posted("a version of a megabyte", body(version="v" * 2**20), ("400", "404")),
    posted("a version of 4,000 characters", body(version="v" + "1" * 4_000), ("400", "404")),
    posted("an object as question", body(question={"a": [1]}), TAKEN),
    posted("a number as question", body(question=10**400), TAKEN),
    posted("null as question", body(question=None), TAKEN),
    posted("a list as version", body(version=["v1"]), ("400", "404")),
    posted("an image that is no base64", body(image="*" * 100)),
    posted("an image in letters beyond ASCII", body(image="é" * 100)),
    posted("an image as a number", body(image=1)),
    posted("an address as image", body(image="http://127.0.0.1:9/image.png")),
    posted("bytes that are not UTF-8", b'{"image": "\xff\xfe"}'),
    posted("UTF-16", '{"image": "x"}'.encode("utf-16")),
    posted("UTF-32 without its mark", '{"image": "x"}'.encode("utf-32-le")),
    posted(
        "a charset that does not exist",
        body(),
        TAKEN,
        **{"content-type": "application/json; charset=klingon"},
    ),
    posted("compressed, it says", body(), ("200", "400", "415"), **{"content-encoding": "gzip"}),
    posted("a content type of nothing", body(), TAKEN, **{"content-type": ""}),
    posted("200,000 fields", b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}"),
]
FORMS = [
    form("nothing", b""),
    form("no end", QUESTION + PICTURE, TAKEN),
    form("another boundary", (QUESTION + PICTURE + b"--b--\r\n").replace(b"--b", b"--c")),
    form("no image", QUESTION + b"--b--\r\n"),
    form("no question", PICTURE + b"--b--\r\n"),
    form(
        "the image as text", QUESTION + PICTURE.replace(b'; filename="i.png"', b"") + b"--b--\r\n"
    ),
    form("a part without a name", b"--b\r\n\r\nx\r\n" + PICTURE + b"--b--\r\n"),
    form(
        "a part whose header never ends",
        b"--b\r\ncontent-disposition: form-data; name=" + b"x" * 2**20,
    ),
    form("a header without a colon", b"--b\r\ncontent-disposition\r\n\r\nx\r\n--b--\r\n"),
    form("2,000 parts", QUESTION * 2_000 + PICTURE + b"--b--\r\n"),
    form("2,000 files", PICTURE * 2_000 + b"--b--\r\n"),
    form("a field of 2 MiB", QUESTION.replace(b"what?", b"x" * 2**21) + PICTURE + b"--b--\r\n"),
    form(
        "a question that is not UTF-8",
        QUESTION.replace(b"what?", b"\xff\xfe\x80") + PICTURE + b"--b--\r\n",
        TAKEN,
    ),
    form("no boundary", QUESTION, **{"content-type": "multipart/form-data"}),
    form("an empty boundary", QUESTION, **{"content-type": "multipart/form-data; boundary="}),
    form(
        "a boundary of 100,000 characters",
        QUESTION,
        TOO_MUCH,
        **{"content-type": "multipart/form-data; boundary=" + "b" * 60_000},
    ),
    form(
        "a boundary beyond ASCII",
        QUESTION,
        **{"content-type": b"multipart/form-data; boundary=\xe9\xff"},
    ),
    form(
        "a charset that does not exist",
        QUESTION + PICTURE + b"--b--\r\n",
        TAKEN,
        **{"content-type": "multipart/form-data; boundary=b; charset=klingon"},
    ),
    form(
        "a form that is another kind",
        b"question=what",
        **{"content-type": "application/x-www-form-urlencoded"},
    ),
]
WHOLE = b"Host: a\r\nContent-Type: application/json\r\n"
HEAD = b"POST /v1/vqa HTTP/1.1\r\n" + WHOLE
SOCKETS = [
    over_socket(
        "no HTTP",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        expected=("400", "CLOSED"),
    ),
    over_socket(
        "HTTP/2 as prior knowledge",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        expected=("400", "505", "CLOSED"),
    ),
    over_socket(
        "a method that does not exist",
        b"ATTACK /v1/vqa HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=("400", "405", "501"),
    ),
    over_socket("TRACE", b"TRACE /v1/vqa HTTP/1.1\r\nHost: a\r\n\r\n", expected=("400", "405")),
    over_socket(
        "CONNECT",
        b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=("400", "404", "405"),
    ),
    over_socket(
        "GET of the endpoint", b"GET /v1/vqa HTTP/1.1\r\nHost: a\r\n\r\n", expected=("405",)
    ),
    over_socket(
        "another host's address",
        b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=("200", "400", "404"),
    ),
    over_socket(
        "a path upwards",
        b"GET /v1/../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=("400", "404"),
    ),
    over_socket(
        "a path with NUL", b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", expected=("400", "404")
    ),
    over_socket(
        "a path that is not UTF-8",
        b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=("400", "404"),
    ),
    over_socket(
        "a path of 100 kB",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        expected=(*TOO_MUCH, "404"),
    ),
    over_socket(
        "a header of a megabyte", HEAD + b"X: " + b"a" * 2**20 + b"\r\n\r\n", expected=TOO_MUCH
    ),
    over_socket("20,000 headers", HEAD + b"X: a\r\n" * 20_000 + b"\r\n", expected=TOO_MUCH),
    over_socket("a header with NUL", HEAD + b"X: a\0b\r\n\r\n", expected=("400", "CLOSED")),
    over_socket(
        "a length below nothing", HEAD + b"Content-Length: -1\r\n\r\n", expected=("400", "CLOSED")
    ),
    over_socket(
        "a length in words", HEAD + b"Content-Length: many\r\n\r\n", expected=("400", "CLOSED")
    ),
    over_socket(
        "a length of 5,000 digits",
        HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        expected=TOO_MUCH,
    ),
    over_socket(
        "a length of 10 exabytes",
        HEAD + b"Content-Length: 9999999999999999999\r\n\r\n",
        expected=TOO_MUCH,
    ),
    over_socket(
        "two lengths",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        expected=("400", "CLOSED"),
    ),
    over_socket(
        "a length and chunks",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        expected=("400", "CLOSED"),
    ),
    over_socket(
        "a chunk of no size",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        expected=("400", "CLOSED"),
    ),
    over_socket(
        "a chunk of 16 exabytes",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        expected=("400", "413", "CLOSED"),
    ),
]


@pytest.mark.parametrize("attack", BODIES, ids=str)
async def test_bodies(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", FORMS, ids=str)
async def test_forms(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", SOCKETS, ids=str)
async def test_sockets(student, attack):
    await withstand(student, attack)


TASKS = {"a lone surrogate": "\ud800", "a megabyte": "x" * 2**20, "NUL": "\0", "a list": ["vqa"]}


@pytest.mark.parametrize("name", TASKS)
async def test_tasks_of_the_teacher(teacher, name):
    content = json.dumps({"image": ENCODED, "task": TASKS[name]}).encode()
    await withstand(teacher, over_http(name, path="/v1/annotate", content=content, headers=JSON))


async def test_no_page_loads_anything_from_elsewhere(student):
    async with besieged(student):
        pages = [
            await request(student.url, "GET", path)
            for path in ("/", "/docs.json", "/index.html", "/static_content/index.css")
        ]
    for page in pages:
        assert page.status in ("200", "404", "405")
        assert "https://" not in page.said
        assert "//cdn" not in page.said
