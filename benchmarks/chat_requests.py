"""Requests to chat completions and models that any client may send, right and wrong ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.questions import Asked

CHAT = "/v1/chat/completions"
MODEL = "student"
JSON = {"content-type": "application/json"}
HUGE = 2**20
"""Characters of a question that no window holds."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request under the name of its peculiarity."""

    name: str
    body: bytes = b""
    method: str = "POST"
    path: str = CHAT
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def chat_requests(one: Asked, question: str) -> Iterator[ChatRequest]:
    """About one image; `question` is the text that the server's model gets.

    The templates of our versions stand around a question, other servers want the whole prompt.
    """
    image = {"type": "image_url", "image_url": {"url": _data_url(one.data)}}
    text = {"type": "text", "text": question}
    plain = [{"role": "user", "content": [image, text]}]
    body: dict[str, Any] = {"model": MODEL, "messages": plain, "temperature": 0, "max_tokens": 8}

    def asked(name: str, **fields: Any) -> ChatRequest:
        """The plain request with other fields; None leaves one out."""
        given = {key: value for key, value in {**body, **fields}.items() if value is not None}
        return ChatRequest(name, json.dumps(given).encode())

    def user(*parts: Any) -> list[Any]:
        return [{"role": "user", "content": list(parts)}]

    def image_of(url: Any, **more: Any) -> Any:
        return {"type": "image_url", "image_url": {"url": url, **more}}

    answered = [*plain, {"role": "assistant", "content": "red"}]
    yield asked("plain")
    # Messages
    yield asked("text before image", messages=user(text, image))
    yield asked("two texts", messages=user(image, {"type": "text", "text": "look:"}, text))
    yield asked("text around image", messages=user({"type": "text", "text": "look:"}, image, text))
    yield asked("several turns", messages=[*answered, {"role": "user", "content": question}])
    yield asked("system role", messages=[{"role": "system", "content": "Be brief."}, *plain])
    yield asked("developer role", messages=[{"role": "developer", "content": "Be brief."}, *plain])
    yield asked("assistant last", messages=answered)
    yield asked("unknown role", messages=[{"role": "wizard", "content": question}])
    yield asked("no messages", messages=[])
    yield asked("messages missing", messages=None)
    yield asked("messages of wrong type", messages="what?")
    yield asked("content of wrong type", messages=[{"role": "user", "content": 7}])
    yield asked("unknown part", messages=user(image, {"type": "video", "video": "x"}))
    yield asked("no image", messages=[{"role": "user", "content": question}])
    yield asked("two images", messages=user(image, image, text))
    yield asked("image alone", messages=user(image))
    yield asked(
        "image with detail", messages=user(image_of(_data_url(one.data), detail="low"), text)
    )
    yield asked("wrong base64", messages=user(image_of("data:image/png;base64,!!!"), text))
    yield asked("no image's bytes", messages=user(image_of(_data_url(b"not an image")), text))
    yield asked("image cut off", messages=user(image_of(_data_url(one.data[:200])), text))
    yield asked("URL of a file", messages=user(image_of("file:///etc/passwd"), text))
    yield asked("URL that is none", messages=user(image_of("red.png"), text))
    yield asked("URL of wrong type", messages=user(image_of(7), text))
    yield asked("empty question", messages=user(image, {"type": "text", "text": ""}))
    yield asked(
        "huge question", messages=user(image, {"type": "text", "text": "word " * (HUGE // 5)})
    )
    # The model
    yield asked("unknown model", model="nobody")
    yield asked("model missing", model=None)
    yield asked("model of wrong type", model=7)
    # Lengths
    yield asked("max_tokens absent", max_tokens=None)
    yield asked("max_tokens 1", max_tokens=1)
    yield asked("max_tokens 0", max_tokens=0)
    yield asked("max_tokens below 0", max_tokens=-1)
    yield asked("max_tokens too large", max_tokens=1_000_000)
    yield asked("max_tokens of wrong type", max_tokens="many")
    yield asked("max_completion_tokens", max_tokens=None, max_completion_tokens=1)
    yield asked("both limits", max_tokens=8, max_completion_tokens=1)
    # Sampling
    yield asked("temperature absent", temperature=None)
    yield asked("temperature 2", temperature=2, seed=1, max_tokens=1)
    yield asked("temperature above 2", temperature=2.1)
    yield asked("temperature below 0", temperature=-1)
    yield asked("temperature of wrong type", temperature="hot")
    yield asked("top_p tiny", temperature=1, top_p=1e-9)
    yield asked("top_p 0", top_p=0)
    yield asked("top_p above 1", top_p=1.1)
    yield asked("seed", temperature=0.5, top_p=1e-9, seed=7)
    yield asked("seed too large", seed=2**63)
    yield asked("n 2", n=2)
    yield asked("n 2, sampled", n=2, temperature=1, top_p=1e-9)
    yield asked("n 0", n=0)
    yield asked("penalties of 0", presence_penalty=0, frequency_penalty=0)
    yield asked("penalty", frequency_penalty=0.5)
    # Stops
    yield asked("stop, a text", stop=one.reference[1:])
    yield asked("stop, a list", stop=["zzz", one.reference[-1:]])
    yield asked("stop, empty", stop="")
    yield asked("stop, no list", stop=[])
    yield asked("stop of wrong type", stop=7)
    # Logprobs
    yield asked("logprobs", logprobs=True)
    yield asked("top_logprobs 0", logprobs=True, top_logprobs=0)
    yield asked("top_logprobs 3", logprobs=True, top_logprobs=3)
    yield asked("top_logprobs 20", logprobs=True, top_logprobs=20)
    yield asked("top_logprobs 21", logprobs=True, top_logprobs=21)
    yield asked("top_logprobs alone", top_logprobs=3)
    yield asked("logprobs, a sample", logprobs=True, temperature=0.5, top_p=1e-9, top_logprobs=2)
    # Streams
    usage = {"include_usage": True}
    yield asked("stream", stream=True)
    yield asked("stream with usage", stream=True, stream_options=usage)
    yield asked("stream, n 2", stream=True, n=2, stream_options=usage)
    yield asked("stream, logprobs", stream=True, logprobs=True, top_logprobs=2)
    yield asked("stream, max_tokens 1", stream=True, max_tokens=1, stream_options=usage)
    yield asked("stream of an error", stream=True, model="nobody")
    yield asked("stream_options alone", stream_options=usage)
    # Other fields
    yield asked("unknown field", wizard=7)
    yield asked("user", user="somebody")
    yield asked("text format", response_format={"type": "text"})
    yield asked("JSON format", response_format={"type": "json_object"})
    yield asked("tools", tools=[_TOOL])
    yield asked("no tools", tools=[])
    yield asked("tool_choice none", tool_choice="none")
    yield asked("echo", echo=True)
    yield asked("logit_bias", logit_bias={"5": 100})
    # HTTP
    yield ChatRequest("no JSON", b"{")
    yield ChatRequest("no object", b"[]")
    yield ChatRequest("no body")
    yield ChatRequest("not UTF-8", b'{"model": "\xff"}')
    plain_body = json.dumps(body).encode()
    yield ChatRequest("content type with charset", plain_body, headers=_type("; charset=utf-8"))
    yield ChatRequest("wrong content type", plain_body, headers={"content-type": "text/plain"})
    yield ChatRequest("no content type", plain_body, headers={})
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        yield ChatRequest(f"{method} of completions", method=method, headers={})
    yield ChatRequest("models", method="GET", path="/v1/models", headers={})
    yield ChatRequest("HEAD of models", method="HEAD", path="/v1/models", headers={})
    yield ChatRequest("POST to models", b"{}", path="/v1/models")
    yield ChatRequest("unknown path", method="GET", path="/v1/wizards", headers={})
    yield ChatRequest("slash at the end", plain_body, path=f"{CHAT}/")


_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def _type(more: str) -> dict[str, str]:
    return {"content-type": f"application/json{more}"}


def _data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
