"""Chat completions answered by our student and by `vllm serve`, the same model on vLLM.

    python -m benchmarks.conformance --model bundled

Both get the same requests of `chat_requests`. The statuses are compared, and if a request is
answered, all fields of the reply that both could have: texts, reasons, usage, logprobs to 0.001,
chunks. DIFFERENCES are those that docs/endpoint.md explains; the row counts all others. The
errors of each side have their own texts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.chat_requests import MODEL, ChatRequest, chat_requests
from benchmarks.checkpoints import checkpoint
from benchmarks.endpoint import serve_arguments
from benchmarks.folders import work_folder
from benchmarks.processes import serving, side_by_side, vllm_serve
from benchmarks.questions import ask
from benchmarks.row import Question, Row
from benchmarks.stores import fill

DIGITS = 3
TIMEOUT_S = 120.0
MOST_SHOWN = 1000
ONE_QUESTION = "one question about one image"
UNSUPPORTED = "a field that no engine of ours has, refused"
GREEDY = "several greedy choices, the same text"
LAST_TOKEN = "logprobs of the token that ends a reply, left out; a stream's at its end"
LAST_CHUNK = "the last chunk of a choice, an empty delta"
DIFFERENCES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "several turns",
            "system role",
            "developer role",
            "assistant last",
            "no image",
            "image alone",
            "empty question",
        ),
        ONE_QUESTION,
    ),
    **dict.fromkeys(("penalty", "JSON format", "logit_bias"), UNSUPPORTED),
    **dict.fromkeys(("n 2", "stream, n 2"), GREEDY),
    **dict.fromkeys(
        (
            "logprobs",
            "top_logprobs 0",
            "top_logprobs 3",
            "top_logprobs 20",
            "logprobs, a sample",
            "stream, logprobs",
        ),
        LAST_TOKEN,
    ),
    **dict.fromkeys(("stream", "stream with usage", "stream, max_tokens 1"), LAST_CHUNK),
    "unknown role": "refused, not put into the prompt",
    "URL of a file": "the caller's fault, not the service's",
    "max_tokens too large": "the largest limit instead of a refusal",
    "no tools": "an empty list changes nothing",
    "echo": "logprobs of the prompt, left out",
    "models": "each version and pointer is a model",
    "HEAD of models": "answered as GET, without a body",
    "slash at the end": "no redirect",
}
_OWN = {"id", "created", "model", "system_fingerprint", "root", "owned_by"}
"""Fields whose values are each server's own."""
_MORE = {"prompt_tokens_details", "stop_reason", "permission", "max_model_len"}
"""Fields that one of the two has."""

Answer = tuple[int, Any]
"""Status, and the content that can be compared."""


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "bundled":
        return
    folder, weights = work_folder("conformance"), checkpoint(model)
    await asyncio.to_thread(fill, folder, [weights], model)
    one = ask(0, 1, 1)[0]
    async with side_by_side(
        serving("student", folder, 1, engine="vllm", served_names=MODEL),
        vllm_serve(weights, folder, 1, serve_arguments()),
    ) as (service, url):
        ours = await answers(service.url, list(chat_requests(one, one.question)))
        theirs = await answers(url, list(chat_requests(one, one.prompt)))
    found = [name for name in ours if ours[name] != theirs[name]]
    for name in found:
        print(f"{name} ({DIFFERENCES.get(name, 'unexplained')}):")
        for side, answer in (("ours", ours[name]), ("theirs", theirs[name])):
            print(f"  {side}: {json.dumps(answer)[:MOST_SHOWN]}")
    unexplained = [name for name in found if name not in DIFFERENCES]
    question = Question(
        name="conformance-bundled",
        what="requests to chat completions answered otherwise, without an explained reason",
        other="-",
        model=model,
        engine="vllm",
        unit="requests",
        at_most=0.0,
    )
    yield question.counted(
        len(unexplained),
        runs=1,
        requests=len(ours),
        answered=sum(status == httpx.codes.OK for status, _ in ours.values()),
        explained=len(found) - len(unexplained),
        unexplained=", ".join(unexplained),
        no_longer_different=", ".join(sorted(DIFFERENCES.keys() - found)),
    )


async def answers(url: str, requests: list[ChatRequest]) -> dict[str, Answer]:
    """Answers of a server by the names of the requests.

    Each request has a connection of its own: after a status of 500, vLLM closes the connection
    without announcing it.
    """
    found = {}
    single = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=single) as client:
        for one in requests:
            reply = await client.request(
                one.method, one.path, content=one.body, headers=one.headers
            )
            found[one.name] = reply.status_code, _content(reply)
    return found


def _content(reply: httpx.Response) -> Any:
    if reply.status_code != httpx.codes.OK:
        return None
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        events = [event.removeprefix("data: ") for event in reply.text.strip().split("\n\n")]
        return [_comparable(json.loads(each)) if each != "[DONE]" else each for each in events]
    return _comparable(json.loads(reply.text)) if reply.text else ""


def _comparable(content: Any) -> Any:
    """Without each server's own fields; null and a missing field are the same."""
    if isinstance(content, dict):
        return {
            name: "" if name in _OWN else _comparable(value)
            for name, value in content.items()
            if value is not None and name not in _MORE
        }
    if isinstance(content, list):
        return [_comparable(each) for each in content]
    return round(content, DIGITS) if isinstance(content, float) else content


if __name__ == "__main__":
    arguments.run([measure], __doc__)
