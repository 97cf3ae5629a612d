"""Replies that end at stop sequences, and that are heard while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from services.core.provenance import FinishReason
from services.engines.model import Prompt, Reply, VisionLanguageModel

Hear = Callable[[str], None]
"""Called on the event loop with a reply's text so far."""


async def write(
    model: VisionLanguageModel, prompt: Prompt, stops: Sequence[str], hear: Hear | None
) -> Reply:
    """A model's reply up to the first stop sequence, where the model ends, too.

    A scored reply is written to its end, since its scores come with it.
    """
    if not stops and hear is None:
        return await model.generate(prompt)
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[Reply] = loop.create_future()

    def listen(so_far: Reply) -> None:
        if stopped.done():
            return
        place = first_stop(so_far.text, stops)
        if place is not None and not prompt.scored:
            stopped.set_result(cut(so_far, place))
        elif hear is not None:
            hear(so_far.text[: _certain(so_far.text, stops) if place is None else place])

    def heard(so_far: Reply) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(listen, so_far)

    writing = asyncio.ensure_future(model.generate(replace(prompt, heard=heard)))
    try:
        await asyncio.wait((writing, stopped), return_when=asyncio.FIRST_COMPLETED)
        reply = writing.result() if writing.done() else stopped.result()
    finally:
        writing.cancel()
        if not stopped.done():
            stopped.cancel()
    place = first_stop(reply.text, stops)
    return reply if place is None else cut(reply, place)


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Place of the first stop sequence in `text`."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)


def cut(reply: Reply, place: int) -> Reply:
    """A reply without its text from `place` on. It keeps the usage of what was computed."""
    written, kept = "", 0
    for text in reply.token_texts:
        if len(written) >= place:
            break
        written += text
        kept += 1
    return replace(
        reply,
        text=reply.text[:place],
        finish_reason=FinishReason.STOP,
        token_texts=reply.token_texts[:kept],
        logprobs=reply.logprobs[:kept] if reply.token_texts else reply.logprobs,
        alternatives=reply.alternatives[:kept],
    )


def _certain(text: str, stops: Sequence[str]) -> int:
    """Length of the part of `text` that can't be the beginning of a stop sequence."""
    longest = max(map(len, stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return len(text) - length
    return len(text)
