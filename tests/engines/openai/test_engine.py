"""The openai engine against a provider on a loopback port that misbehaves."""

import asyncio
import base64
import io
import json

import pytest
from PIL import Image
from starlette.responses import Response

from services.core.decoding import Decoding
from services.core.errors import BadReply, InvalidInput, Overloaded, Unavailable, WrongState
from services.core.provenance import FinishReason
from services.engines.model import Reply
from services.engines.openai import engine as openai
from services.engines.openai.images import data_url
from tests.engines.openai.asking import IMAGE, prompt, running, settings_of
from tests.engines.provider import MODEL, completion, error, providing, text_of
from tests.waiting import until


async def test_a_question_becomes_a_chat_completion_and_its_usage_is_paid_for():
    async with providing() as provider, running(provider, IMAGE_DETAIL="high") as engine:
        provider.script.append(
            completion(
                " red \n", prompt_tokens=1_000_000, completion_tokens=100_000, cached_tokens=400_000
            )
        )
        decoding = Decoding(temperature=0.7, top_p=0.9, max_new_tokens=17, seed=42)
        reply = await engine.generate(prompt("what color?", decoding=decoding, system="Be brief."))
        (body,) = provider.requests
        assert engine.fingerprint == openai.identity(
            MODEL, settings_of(provider, IMAGE_DETAIL="high")
        )
    assert reply.cost_usd == pytest.approx(0.6 * 2.50 + 0.4 * 1.25 + 0.1 * 10)
    assert reply == Reply(
        text="red",
        prompt_tokens=1_000_000,
        completion_tokens=100_000,
        finish_reason=FinishReason.STOP,
        cached_prompt_tokens=400_000,
        cost_usd=reply.cost_usd,
        system_fingerprint="fp_a1b2c3",
    )
    content = body["messages"][1]["content"]
    url = content[0]["image_url"].pop("url")
    pixels = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert pixels.convert("RGB").tobytes() == IMAGE.pixels.tobytes()
    system, _ = body.pop("messages")
    assert body == {
        "model": MODEL,
        "max_completion_tokens": 17,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 42,
    }
    assert system == {"role": "system", "content": "Be brief."}
    assert content == [
        {"type": "image_url", "image_url": {"detail": "high"}},
        {"type": "text", "text": "what color?"},
    ]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
async def test_what_passes_is_retried_with_the_same_idempotency_key(status):
    async with providing() as provider, running(provider) as engine:
        provider.script += [error(status, headers={"retry-after-ms": "5"})] * 2
        reply = await engine.generate(prompt())
        await engine.generate(prompt("another?"))
    assert reply.text
    keys = [headers["idempotency-key"] for headers in provider.headers]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


@pytest.mark.parametrize("fault", ["cut", 5.0])
async def test_a_cut_connection_and_one_that_hangs_are_tried_again(fault):
    async with providing() as provider, running(provider, TIMEOUT_S=0.5) as engine:
        provider.script.append(fault)
        assert (await engine.generate(prompt())).text
    assert len({headers["idempotency-key"] for headers in provider.headers}) == 1
    assert len(provider.headers) == 2


async def test_after_the_last_retry_the_caller_hears_why():
    async with providing() as provider, running(provider, RETRIES=1, TIMEOUT_S=0.2) as engine:
        provider.script += [error(500, "the server had an error")] * 2
        with pytest.raises(Unavailable, match=r"fails with 500 \(the server had an error\)"):
            await engine.generate(prompt())
        provider.script += [5.0, 5.0]
        with pytest.raises(Unavailable, match=r"did not answer within 0.2 s"):
            await engine.generate(prompt())
        provider.script += ["cut", "cut"]
        with pytest.raises(Unavailable, match="connection to"):
            await engine.generate(prompt())
        provider.script += [error(429, "slow down", headers={"retry-after-ms": "20"})] * 2
        with pytest.raises(Overloaded, match=r"slow down") as overloaded:
            await engine.generate(prompt())
        assert overloaded.value.retry_after_s == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("response", "kind", "says"),
    [
        (
            error(429, "You exceeded your current quota", "insufficient_quota"),
            WrongState,
            "add credit",
        ),
        (
            error(403, "Country not supported", "unsupported_country"),
            WrongState,
            "OPENAI_API_KEY may not use",
        ),
        (
            error(404, "The model does not exist", "model_not_found"),
            WrongState,
            "MPA_TEACHER_MODEL",
        ),
        (error(400, "max_tokens is too large"), InvalidInput, "max_tokens is too large"),
        (error(413, "too much"), InvalidInput, "too much"),
        (
            Response(status_code=302, headers={"location": "http://127.0.0.1:1/"}),
            WrongState,
            "check OPENAI_BASE_URL",
        ),
    ],
)
async def test_what_no_retry_cures_is_said_at_once(response, kind, says):
    async with providing() as provider, running(provider) as engine:
        provider.script.append(response)
        with pytest.raises(kind, match=says):
            await engine.generate(prompt())
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("response", "reason", "text"),
    [
        (
            completion(None, refusal="I can't help with that."),
            FinishReason.REFUSAL,
            "I can't help with that.",
        ),
        (completion("The", "content_filter"), FinishReason.CONTENT_FILTER, "The"),
        (completion("", "content_filter"), FinishReason.CONTENT_FILTER, ""),
        (completion("Question: what", "length"), FinishReason.LENGTH, "Question: what"),
        (completion("", "length"), FinishReason.LENGTH, ""),
        (completion("red", "eos"), FinishReason.STOP, "red"),
        (
            error(400, "Your input may contain ...", "content_policy_violation"),
            FinishReason.CONTENT_FILTER,
            "",
        ),
        (
            error(400, "The response was filtered", "content_filter"),
            FinishReason.CONTENT_FILTER,
            "",
        ),
    ],
)
async def test_what_is_withheld_or_cut_off_is_no_usual_answer(response, reason, text):
    async with providing() as provider, running(provider) as engine:
        provider.script.append(response)
        reply = await engine.generate(prompt())
    assert (reply.finish_reason, reply.text) == (reason, text)
    assert len(provider.requests) == 1


UNUSABLE = [
    Response("{not json", media_type="application/json"),
    Response("[]"),
    Response("<html>a proxy</html>"),
    Response(json.dumps({"choices": []})),
    Response(json.dumps({"choices": [{"message": None}]})),
    Response(json.dumps(completion("  "))),
    Response(json.dumps(completion(None))),
]


@pytest.mark.parametrize("response", UNUSABLE)
async def test_an_unusable_response_is_asked_for_once_more_and_then_told(response):
    async with providing() as provider, running(provider) as engine:
        provider.script.append(response)
        assert (await engine.generate(prompt())).text in ("red", "green", "blue")
        provider.script += [response, response]
        with pytest.raises(BadReply, match="2 times"):
            await engine.generate(prompt())
        assert (await engine.generate(prompt())).text
    assert len(provider.requests) == 5


async def test_an_empty_reply_that_was_billed_is_on_the_bill_of_the_next():
    async with providing() as provider, running(provider) as engine:
        provider.script += [
            completion("", completion_tokens=5),
            completion("red", completion_tokens=7),
        ]
        reply = await engine.generate(prompt())
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("red", 2000, 12)
    assert reply.cost_usd == pytest.approx(2000 * 2.5e-6 + 12 * 10e-6)


async def test_a_caller_that_is_cancelled_takes_its_request_back():
    async with providing() as provider, running(provider, MAX_CONCURRENT=1) as engine:
        provider.script.append(30.0)
        asking = asyncio.create_task(engine.generate(prompt()))
        await until(lambda: provider.requests)
        asking.cancel()
        assert (await asyncio.wait_for(engine.generate(prompt()), 5)).text


async def test_guided_decoding_goes_only_where_the_server_is_known_to_take_it():
    async with providing() as provider:
        async with running(provider) as engine:
            with pytest.raises(InvalidInput, match="MPA_TEACHER_GUIDED") as refused:
                await engine.generate(prompt(pattern="a|b"))
            assert refused.value.field == "guided"
        for name, field in (
            ("structured_outputs", {"structured_outputs": {"regex": "a|b"}}),
            ("guided_regex", {"guided_regex": "a|b"}),
        ):
            async with running(provider, GUIDED=name) as engine:
                await engine.generate(prompt(pattern="a|b"))
            assert field.items() <= provider.requests[-1].items()


async def test_an_image_is_encoded_once_for_all_its_questions():
    async with providing() as provider, running(provider) as engine:
        await asyncio.gather(*[engine.generate(prompt(f"number {number}?")) for number in range(5)])
        assert len(engine._images._urls) == 1
    urls = {body["messages"][0]["content"][0]["image_url"]["url"] for body in provider.requests}
    assert len(urls) == 1
    assert {text_of(body) for body in provider.requests} == {
        f"number {number}?" for number in range(5)
    }


def test_large_images_are_scaled_and_heavy_ones_become_jpeg():
    noise = Image.effect_noise((3000, 1000), 100).convert("RGB")
    kind, _, data = data_url(noise).partition(";base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/jpeg"
    assert max(decoded.size) == 2048
    assert noise.size == (3000, 1000)
