"""A completion as server-sent events: a chunk for each part of a choice, then [DONE].

Parts that come faster than the caller reads become one chunk, so a slow caller takes no memory. The
connection's own limit (HTTP_WRITE_S) ends one who reads nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Send

from services.engines.model import Reply
from services.rpc.http.completions.replies import Completed, CompletionShape
from services.rpc.http.completions.request import ChatQuestion

_DONE = b"data: [DONE]\n\n"
Headers = Callable[[str], Mapping[str, str]]
"""Headers of a reply by a version."""
_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class EventStream:
    """The events of one request. `began` and `heard` are called while it is answered."""

    def __init__(self, send: Send, asked: ChatQuestion, name: str) -> None:
        """`name`: the id of the completion."""
        self._send = send
        self._asked = asked
        self._name = name
        self._shape: CompletionShape | None = None
        self._heard = [""] * asked.count
        self._sent = [""] * asked.count
        self._news = asyncio.Event()
        self.has_begun = False
        """Whether the status has been sent."""

    def began(self, version: str) -> None:
        """Note the version that answers."""
        self._shape = CompletionShape(self._name, version)
        self._news.set()

    def heard(self, index: int, text: str) -> None:
        """Note the text of a choice so far."""
        self._heard[index] = text
        self._news.set()

    async def run(self, answering: Awaitable[Completed], headers: Headers) -> None:
        """Send the events of an answer, but for the last one. Raises its errors."""
        working = asyncio.ensure_future(answering)
        working.add_done_callback(lambda _: self._news.set())
        try:
            while not working.done():
                await self._news.wait()
                self._news.clear()
                # No status before the first text: until then an error can have its own.
                if self._shape is not None and any(self._heard) and not working.done():
                    await self._begin(self._shape, headers)
                    await self._send_parts(self._shape)
            completed = working.result()
            assert self._shape is not None
            await self._begin(self._shape, headers)
            await self._end(self._shape, completed)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def close(self) -> None:
        """Send the last event: from then on the connection is as good as one of a caller gone."""
        await self._write(_DONE, is_last=True)

    async def fail(self, body: bytes) -> None:
        """End the events with an error, after some of them."""
        await self._write(b"data: " + body + b"\n\n" + _DONE, is_last=True)

    async def _begin(self, shape: CompletionShape, headers: Headers) -> None:
        if self.has_begun:
            return
        self.has_begun = True
        encoded = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in {**_HEADERS, **headers(shape.version)}.items()
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": encoded})
        for index in range(self._asked.count):
            await self._event(shape.chunk(index, {"role": "assistant", "content": ""}))

    async def _send_parts(self, shape: CompletionShape) -> None:
        for index, text in enumerate(self._heard):
            known = self._sent[index]
            if len(text) > len(known) and text.startswith(known):
                self._sent[index] = text
                await self._event(shape.chunk(index, {"content": text[len(known) :]}))

    async def _end(self, shape: CompletionShape, completed: Completed) -> None:
        self._heard = [reply.text for reply in completed.replies]
        await self._send_parts(shape)
        for index, reply in enumerate(completed.replies):
            await self._event(self._last(shape, index, reply))
        if self._asked.counts_usage:
            await self._event(shape.usage_chunk(completed.replies))

    def _last(self, shape: CompletionShape, index: int, reply: Reply) -> dict[str, Any]:
        return shape.chunk(index, {}, ended=reply, is_scored=self._asked.alternatives is not None)

    async def _event(self, content: dict[str, Any]) -> None:
        if self._asked.counts_usage:
            content = {"usage": None, **content}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        await self._write(b"data: " + text.encode() + b"\n\n")

    async def _write(self, body: bytes, *, is_last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})
