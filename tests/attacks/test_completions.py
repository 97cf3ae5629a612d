"""Wrong and costly requests to chat completions."""

import base64
import json

import pytest

from tests.attacks.attack import over_http, withstand
from tests.attacks.bystander import IMAGE
from tests.attacks.outcomes import request
from tests.pictures import bomb_png

pytestmark = pytest.mark.slow
JSON = {"content-type": "application/json"}
PATH = "/v1/chat/completions"


def data_url(image=IMAGE):
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def part(url):
    return {"type": "image_url", "image_url": {"url": url}}


def turn(*parts, text="what?"):
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


def chat(name, *turns, expected=("400",), **fields):
    messages = list(turns) or [turn(part(data_url()))]
    content = json.dumps({"messages": messages, **fields}).encode()
    return over_http(name, path=PATH, content=content, headers=JSON, expected=expected)


def posted(name, content, expected=("400",)):
    return over_http(name, path=PATH, content=content, headers=JSON, expected=expected)


ATTACKS = [
    posted("nested 100,000 deep", b'{"messages": ' + b"[" * 100_000),
    posted("100,000 messages", b'{"messages": [' + b"0," * 100_000 + b"0]}"),
    posted("a number of 10,000 digits", b'{"messages": [], "seed": ' + b"9" * 10_000 + b"}"),
    posted("not a number", b'{"messages": [], "temperature": NaN}'),
    posted("half a surrogate pair", b'{"messages": [{"role": "user", "content": "\\ud800"}]}'),
    posted("bytes that are not UTF-8", b'{"messages": "\xff"}'),
    chat("500 images in a turn", turn(*[part(data_url())] * 500)),
    chat("a bomb of 2,500 megapixels", turn(part(data_url(bomb_png())))),
    chat("a question of a megabyte", turn(part(data_url()), text="x" * 2**20)),
    chat("a data URI of 30 MB", turn(part("data:;base64," + "A" * 30_000_000))),
    chat("this machine's metadata", turn(part("https://169.254.169.254/latest/meta-data"))),
    chat("the service itself", turn(part("https://127.0.0.1:3000/v1/models"))),
    chat("a file", turn(part("file:///etc/passwd"))),
    chat("a URL of a megabyte", turn(part("https://a/" + "a" * 2**20))),
    chat("a URL with a line end", turn(part("https://a/\r\nx: y"))),
    chat("8 choices of 1,024 tokens", n=8, max_tokens=2**62, expected=("200",)),
    chat("a million choices", n=10**6),
    chat("1,000 stop sequences", stop=["a"] * 1_000),
    chat("a stop sequence of a megabyte", stop="a" * 2**20),
    chat("a million alternatives", logprobs=True, top_logprobs=10**6),
    chat("a model upwards", model="../../v1", expected=("400", "404")),
    chat("a model with a line end", model="v1\r\nx: y", expected=("400", "404")),
    chat("a stream of nothing", turn(text=" "), stream=True),
    chat("a stream of a model that is not here", model="v9", stream=True, expected=("404",)),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_requests(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("name", ["%00", "..%2f..%2fv1", "%ff%fe", "v" * 9_000, "a%0d%0ax:%20y"])
async def test_names_of_models(student, name):
    reply = await request(student.url, "GET", f"/v1/models/{name}")
    assert reply.status in ("400", "404", "431", "CLOSED")
