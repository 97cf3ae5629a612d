"""The openai engine against a provider on a loopback port that misbehaves."""

import asyncio
import base64
import io
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from PIL import Image
from starlette.responses import Response

from services.core.decoding import Decoding
from services.core.errors import BadReply, InvalidInput, Overloaded, Unavailable, WrongState
from services.engines.images import load_image
from services.engines.model import FinishReason, Prompt
from services.engines.openai import engine as openai
from services.engines.openai.images import data_url
from services.engines.openai.pacing import LONGEST_WAIT_S, Pace, retry_after_s
from services.engines.openai.prices import price_of
from services.engines.openai.settings import OpenAISettings
from services.environment import Environment
from tests.engines.provider import KEY, MODEL, completion, error, providing, text_of, until
from tests.pictures import png

IMAGE = load_image(png("red"))


def prompt(text="what is it?", **fields):
    return Prompt(IMAGE, text, **fields)


def settings_of(provider, **variables):
    given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url}
    given |= {f"MPA_TEACHER_{name}": str(value) for name, value in variables.items()}
    return OpenAISettings.from_environment(Environment("MPA_TEACHER_", given))


class running:
    """An engine of `provider`, closed at the end."""

    def __init__(self, provider, model=MODEL, **variables):
        self.model, self.settings = model, settings_of(provider, **variables)

    async def __aenter__(self):
        self.engine = await openai.load(self.model, self.settings)
        return self.engine

    async def __aexit__(self, *_):
        await self.engine.close()


async def test_a_question_becomes_a_chat_completion_and_its_usage_is_paid_for():
    async with providing() as provider, running(provider, IMAGE_DETAIL="high") as engine:
        provider.script.append(completion(" red \n", prompt_tokens=1_000_000, completion_tokens=100_000, cached_tokens=400_000))
        decoding = Decoding(temperature=0.7, top_p=0.9, max_new_tokens=17, seed=42)
        reply = await engine.generate(prompt("what color?", decoding=decoding, system="Be brief."))
        (body,) = provider.requests
        assert engine.fingerprint == openai.identity(MODEL, settings_of(provider, IMAGE_DETAIL="high"))
    assert (reply.text, reply.finish_reason, reply.system_fingerprint) == ("red", FinishReason.STOP, "fp_a1b2c3")
    assert (reply.prompt_tokens, reply.cached_prompt_tokens, reply.completion_tokens) == (1_000_000, 400_000, 100_000)
    assert reply.cost_usd == pytest.approx(0.6 * 2.50 + 0.4 * 1.25 + 0.1 * 10)
    content = body["messages"][1]["content"]
    url = content[0]["image_url"].pop("url")
    pixels = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert pixels.convert("RGB").tobytes() == IMAGE.pixels.tobytes()
    assert body | {"messages": None} == {
        "model": MODEL, "messages": None, "max_completion_tokens": 17, "temperature": 0.7, "top_p": 0.9, "seed": 42,
    }  # fmt: skip
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert content == [{"type": "image_url", "image_url": {"detail": "high"}}, {"type": "text", "text": "what color?"}]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
async def test_what_passes_is_retried_with_the_same_idempotency_key(status):
    async with providing() as provider, running(provider) as engine:
        provider.script += [error(status), error(status)]
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


@pytest.mark.parametrize("header", ["retry-after-ms", "retry-after"])
async def test_a_429_cools_down_every_request(header):
    async with providing() as provider, running(provider) as engine:
        pause = {"retry-after-ms": "1000", "retry-after": "1"}[header]
        provider.script.append(error(429, headers={header: pause}))
        first = asyncio.create_task(engine.generate(prompt()))
        await until(lambda: provider.requests)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await engine.generate(prompt("another?"))
        assert time.monotonic() - began > 0.7
        await first
    assert len(provider.requests) == 3


async def test_a_pause_longer_than_a_caller_can_wait_is_handed_on():
    async with providing() as provider, running(provider) as engine:
        provider.script.append(error(429, headers={"retry-after": "3600"}))
        with pytest.raises(Overloaded):
            await engine.generate(prompt())
        with pytest.raises(Overloaded, match="used up for the next 3600 s"):
            await engine.generate(prompt("another?"))
    assert len(provider.requests) == 1


def test_how_long_to_wait():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s(httpx.Headers({"retry-after": "7"})) == 7
    assert retry_after_s(httpx.Headers({"retry-after-ms": "250", "retry-after": "7"})) == 0.25
    assert retry_after_s(httpx.Headers({"retry-after": date})) == pytest.approx(30, abs=2)
    assert retry_after_s(httpx.Headers({"retry-after": "soon"})) is None
    assert retry_after_s(httpx.Headers()) is None


async def test_requests_and_tokens_keep_to_their_rates():
    async def seconds(pace, tokens, count):
        began = time.monotonic()
        await asyncio.gather(*[pace.turn(tokens) for _ in range(count)])
        return time.monotonic() - began

    assert 0.8 < await seconds(Pace(600, 0, 9), 1, 20) < 1.6  # 10 a second, the first second's at once
    assert 0.8 < await seconds(Pace(0, 60_000, 9), 100, 20) < 1.6
    assert await seconds(Pace(0, 0, 9), 100, 20) < 0.1
    pace = Pace(0, 60_000, 9)
    await pace.turn(50_000)
    pace.settle(50_000, 100)
    assert await seconds(pace, 100, 5) < 0.2
    with pytest.raises(Overloaded):
        await seconds(pace, 60_000 * (LONGEST_WAIT_S / 60 + 1), 2)


async def test_no_more_requests_than_allowed_are_under_way():
    most = 0

    async with providing() as provider, running(provider, MAX_CONCURRENT=3) as engine:

        async def watch():
            nonlocal most
            while True:
                most = max(most, len(provider.requests) - answered)
                await asyncio.sleep(0.005)

        answered = 0
        watching = asyncio.create_task(watch())
        provider.script += [0.1] * 9

        async def ask(number):
            nonlocal answered
            await engine.generate(prompt(f"number {number}?"))
            answered += 1

        await asyncio.gather(*[ask(number) for number in range(9)])
        watching.cancel()
    assert most == 3


@pytest.mark.parametrize(
    ("response", "kind", "says"),
    [
        (error(429, "You exceeded your current quota", "insufficient_quota"), WrongState, "add credit"),
        (error(403, "Country not supported", "unsupported_country"), WrongState, "OPENAI_API_KEY may not use"),
        (error(404, "The model does not exist", "model_not_found"), WrongState, "MPA_TEACHER_MODEL"),
        (error(400, "max_tokens is too large"), InvalidInput, "max_tokens is too large"),
        (error(413, "too much"), InvalidInput, "too much"),
        (Response(status_code=302, headers={"location": "http://127.0.0.1:1/"}), WrongState, "check OPENAI_BASE_URL"),
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
        (completion(None, refusal="I can't help with that."), FinishReason.REFUSAL, "I can't help with that."),
        (completion("The", "content_filter"), FinishReason.CONTENT_FILTER, "The"),
        (completion("", "content_filter"), FinishReason.CONTENT_FILTER, ""),
        (completion("Question: what", "length"), FinishReason.LENGTH, "Question: what"),
        (completion("", "length"), FinishReason.LENGTH, ""),
        (completion("red", "eos"), FinishReason.STOP, "red"),
        (error(400, "Your input may contain ...", "content_policy_violation"), FinishReason.CONTENT_FILTER, ""),
        (error(400, "The response was filtered", "content_filter"), FinishReason.CONTENT_FILTER, ""),
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
        provider.script += [completion("", completion_tokens=5), completion("red", completion_tokens=7)]
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
    assert {text_of(body) for body in provider.requests} == {f"number {number}?" for number in range(5)}


def test_large_images_are_scaled_and_heavy_ones_become_jpeg():
    noise = Image.effect_noise((3000, 1000), 100).convert("RGB")
    kind, _, data = data_url(noise).partition(";base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/jpeg"
    assert max(decoded.size) == 2048
    assert noise.size == (3000, 1000)


@pytest.mark.parametrize(
    ("provider", "variables", "kind", "says"),
    [
        ({"key": "another"}, {}, WrongState, "does not accept the key in OPENAI_API_KEY"),
        ({"models": ("gpt-9",)}, {}, WrongState, "has no model 'gpt-4o-2024-11-20'"),
        ({}, {"PRICES": "nowhere.json"}, InvalidInput, "the price table nowhere.json"),
    ],
)
async def test_what_is_wrong_is_told_when_the_model_is_loaded(provider, variables, kind, says):
    async with providing(**provider) as running_provider:
        with pytest.raises(kind, match=says):
            await openai.load(MODEL, settings_of(running_provider, **variables))


async def test_nobody_at_the_address_is_told_when_the_model_is_loaded():
    settings = OpenAISettings(base_url="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(Unavailable, match=r"127.0.0.1:9 failed .* check OPENAI_BASE_URL"):
        await openai.load(MODEL, settings)


async def test_a_server_that_does_not_list_its_models_is_taken_at_its_word(caplog):
    async with providing(has_models=False) as provider, running(provider, model="my-model") as engine:
        assert (await engine.generate(prompt())).cost_usd == 0
    assert "my-model is taken as given" in caplog.text
    assert caplog.text.count("no price is known for my-model") == 1


async def test_a_key_that_may_ask_but_not_look_up_models_is_good_enough(caplog):
    async with providing(may_look_up=False) as provider, running(provider) as engine:
        assert (await engine.generate(prompt())).text
    assert "the key may not look up models" in caplog.text


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "OPENAI_API_KEY is not set"),
        ({"OPENAI_API_KEY": "sk-two lines\nSECRET"}, "OPENAI_API_KEY holds blanks"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://me:SECRET@host/v1"}, "OPENAI_BASE_URL holds a user name"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://host/v1?api-key=SECRET"}, "OPENAI_BASE_URL holds a user name"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "host:99999999"}, "OPENAI_BASE_URL is not the address"),
        ({"MPA_TEACHER_IMAGE_DETAIL": "huge"}, "MPA_TEACHER_IMAGE_DETAIL is 'huge': use one of low, high, auto"),
        ({"MPA_TEACHER_REQUESTS_PER_MINUTE": "-1"}, "MPA_TEACHER_REQUESTS_PER_MINUTE is -1"),
        ({"MPA_TEACHER_MAX_CONCURRENT": "0"}, "MPA_TEACHER_MAX_CONCURRENT is 0: give at least 1"),
    ],
)
async def test_a_wrong_setting_is_named_and_no_secret_shown(variables, says):
    with pytest.raises(InvalidInput) as wrong:
        await openai.load(MODEL, OpenAISettings.from_environment(Environment("MPA_TEACHER_", variables)))
    assert says in str(wrong.value)
    assert "SECRET" not in str(wrong.value)


async def test_the_key_shows_up_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    said = []
    async with providing(key="another") as provider:
        with pytest.raises(WrongState) as wrong:
            await openai.load(MODEL, settings_of(provider))
        said.append(str(wrong.value))
        provider.key = KEY
        async with running(provider, RETRIES=0) as engine:
            said += [repr(settings_of(provider)), repr(engine), engine.fingerprint, repr(engine._api._http.headers)]
            for response in (error(400, f"bad {KEY}"), error(403, f"no {KEY}"), error(500, "sk-live-abc***xyz"), Response(KEY)):
                provider.script += [response, response]
                with pytest.raises((InvalidInput, WrongState, Unavailable, BadReply)) as wrong:
                    await engine.generate(prompt())
                provider.script.clear()
                said.append(str(wrong.value))
    assert provider.requests
    everything = "\n".join([*said, caplog.text])
    assert KEY not in everything
    assert "sk-" not in everything


def test_the_fingerprint_names_server_model_and_detail():
    one = OpenAISettings(api_key="a")
    assert openai.identity("m", one) == openai.identity("m", OpenAISettings(api_key="b", retries=9))
    others = [("n", one), ("m", OpenAISettings(image_detail="low")), ("m", OpenAISettings(base_url="http://127.0.0.1:8000/v1"))]
    assert len({openai.identity("m", one), *(openai.identity(*other) for other in others)}) == 4


def test_prices(tmp_path):
    table = tmp_path / "prices.json"
    table.write_text('{"mine": {"input": 1, "output": 2}, "gpt-4o": {"input": 9, "output": 9, "batch_discount": 0.25}}')
    assert price_of("gpt-4o-2024-11-20").input == 2.5
    assert price_of("gpt-4o-2024-05-13").input == 5
    assert price_of("mine", table).cached_input == 1
    assert (price_of("gpt-4o-2024-11-20", table).output, price_of("gpt-4o", table).batch_discount) == (9, 0.25)
    for wrong in ("[]", '{"m": {"input": 1}}', '{"m": {"input": -1, "output": 1}}', '{"m": {"input": "1", "output": 1}}', "{"):
        table.write_text(wrong)
        with pytest.raises(InvalidInput, match="price table"):
            price_of("m", table)
