"""Checks before a provider is asked: address, key, model, settings, prices."""

import logging

import pytest
from starlette.responses import Response

from services.core.errors import BadReply, InvalidInput, Unavailable, WrongState
from services.engines.openai import engine as openai
from services.engines.openai.prices import price_of
from services.engines.openai.settings import OpenAISettings
from services.environment import Environment
from tests.engines.openai.asking import prompt, running, settings_of
from tests.engines.provider import KEY, MODEL, error, providing


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
    async with (
        providing(has_models=False) as provider,
        running(provider, model="my-model") as engine,
    ):
        assert (await engine.generate(prompt())).cost_usd == 0
    assert "my-model is used unchecked" in caplog.text
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
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://me:SECRET@host/v1"},
            "OPENAI_BASE_URL holds a user name",
        ),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://host/v1?api-key=SECRET"},
            "OPENAI_BASE_URL holds a user name",
        ),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "host:99999999"},
            "OPENAI_BASE_URL is not the address",
        ),
        (
            {"MPA_TEACHER_IMAGE_DETAIL": "huge"},
            "MPA_TEACHER_IMAGE_DETAIL is 'huge': use one of low, high, auto",
        ),
        ({"MPA_TEACHER_REQUESTS_PER_MINUTE": "-1"}, "MPA_TEACHER_REQUESTS_PER_MINUTE is -1"),
        ({"MPA_TEACHER_MAX_CONCURRENT": "0"}, "MPA_TEACHER_MAX_CONCURRENT is 0: give at least 1"),
    ],
)
async def test_a_wrong_setting_is_named_and_no_secret_shown(variables, says):
    with pytest.raises(InvalidInput) as wrong:
        await openai.load(
            MODEL, OpenAISettings.from_environment(Environment("MPA_TEACHER_", variables))
        )
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
            said += [
                repr(settings_of(provider)),
                repr(engine),
                engine.fingerprint,
                repr(engine._api._http.headers),
            ]
            for response in (
                error(400, f"bad {KEY}"),
                error(403, f"no {KEY}"),
                error(500, "sk-live-abc***xyz"),
                Response(KEY),
            ):
                provider.script += [response, response]
                with pytest.raises((InvalidInput, WrongState, Unavailable, BadReply)) as failed:
                    await engine.generate(prompt())
                provider.script.clear()
                said.append(str(failed.value))
    assert provider.requests
    everything = "\n".join([*said, caplog.text])
    assert KEY not in everything
    assert "sk-" not in everything


def test_the_fingerprint_names_server_model_and_detail():
    one = OpenAISettings(api_key="a")
    assert openai.identity("m", one) == openai.identity("m", OpenAISettings(api_key="b", retries=9))
    others = [
        ("n", one),
        ("m", OpenAISettings(image_detail="low")),
        ("m", OpenAISettings(base_url="http://127.0.0.1:8000/v1")),
    ]
    assert len({openai.identity("m", one), *(openai.identity(*other) for other in others)}) == 4


def test_prices(tmp_path):
    table = tmp_path / "prices.json"
    table.write_text(
        '{"mine": {"input": 1, "output": 2},'
        ' "gpt-4o": {"input": 9, "output": 9, "batch_discount": 0.25}}'
    )
    assert price_of("gpt-4o-2024-11-20").input == 2.5
    assert price_of("gpt-4o-2024-05-13").input == 5
    assert price_of("mine", table).cached_input == 1
    assert (
        price_of("gpt-4o-2024-11-20", table).output,
        price_of("gpt-4o", table).batch_discount,
    ) == (9, 0.25)
    for wrong in (
        "[]",
        '{"m": {"input": 1}}',
        '{"m": {"input": -1, "output": 1}}',
        '{"m": {"input": "1", "output": 1}}',
        "{",
    ):
        table.write_text(wrong)
        with pytest.raises(InvalidInput, match="price table"):
            price_of("m", table)
