"""Chat completions and models over a real port, by the strict client of OpenAI."""

import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from services.engines.fake import true_answer
from services.engines.images import sha256
from services.rpc.load_shedding import LoadSettings, LoadShedder
from tests.pictures import png
from tests.serving import fake_student_settings
from tests.student.over_http import IMAGE, asked, data_url, publish, student_over_http, turn

QUESTION = "what color is it?"
WORDY = "Question:"
WORDS = f"{WORDY} Q"
"""A question that a fake model whose `wordy` is WORDY answers with several words."""


@pytest.fixture
async def served(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY)
    async with student_over_http(settings) as served:
        yield served


def client_of(served, **options):
    return openai.AsyncOpenAI(
        base_url=f"{served.url}/v1",
        api_key="none",
        max_retries=0,
        _strict_response_validation=True,
        **options,
    )


@pytest.fixture
async def client(served):
    async with client_of(served) as client:
        yield client


async def test_a_question_is_answered_and_the_version_is_named(client):
    raw = await client.chat.completions.with_raw_response.create(**asked(QUESTION))
    reply = raw.parse()
    assert reply.choices[0].message.content == true_answer(sha256(IMAGE), QUESTION)
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.model, reply.system_fingerprint) == ("v1", "v1")
    assert raw.headers["x-mpa-version"] == "v1"
    assert "x-mpa-ignored" not in raw.headers
    assert reply.id == f"chatcmpl-{raw.headers['x-request-id']}"
    usage = reply.usage
    assert usage.completion_tokens == 1
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


async def test_the_same_question_has_the_same_answer_on_every_face(served, client):
    reply = await client.chat.completions.create(**asked(QUESTION))
    async with httpx.AsyncClient(base_url=served.url) as http:
        vqa = await http.post("/v1/vqa", files={"image": IMAGE}, data={"question": QUESTION})
    assert vqa.json()["answer"] == reply.choices[0].message.content
    assert vqa.json()["usage"]["prompt_tokens"] == reply.usage.prompt_tokens


@pytest.mark.parametrize(
    ("messages", "ignored"),
    [
        ([turn(QUESTION, data_url())], None),
        (
            [{"role": "user", "content": list(reversed(turn(QUESTION, data_url())["content"]))}],
            None,
        ),
        ([{"role": "system", "content": "Be brief."}, turn(QUESTION, data_url())], "system"),
        (
            [
                {"role": "developer", "content": "Be brief."},
                turn("what was it?", data_url(png("blue"))),
                {"role": "assistant", "content": "gray"},
                turn(QUESTION, data_url()),
            ],
            "system, earlier turns",
        ),
        (
            [
                turn("what was it?", data_url()),
                {"role": "assistant", "content": "gray"},
                {"role": "user", "content": QUESTION},
            ],
            "earlier turns",
        ),
    ],
    ids=["text first", "image first", "system", "images in two turns", "image in an earlier turn"],
)
async def test_the_last_turn_is_asked_about_the_last_image(client, messages, ignored):
    raw = await client.chat.completions.with_raw_response.create(model="live", messages=messages)
    content = raw.parse().choices[0].message.content
    assert content == true_answer(sha256(IMAGE), QUESTION)
    assert raw.headers.get("x-mpa-ignored") == ignored


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [turn(QUESTION)]}, "messages", "IMAGE_MISSING"),
    ({"messages": [turn(QUESTION, data_url(b"no"))]}, "messages", "IMAGE_UNREADABLE"),
    ({"messages": [turn(QUESTION, data_url(b""))]}, "messages", "IMAGE_EMPTY"),
    ({"messages": [turn(QUESTION, "https://a.b/c.png")]}, "messages", "INVALID_IMAGE_URL"),
    ({"messages": [turn(" ", data_url())]}, "messages", "QUESTION_EMPTY"),
    ({"messages": [turn("x" * 5_000, data_url())]}, "messages", "QUESTION_TOO_LONG"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "INVALID_INPUT"),
    ({"temperature": 3}, "temperature", "INVALID_INPUT"),
    ({"tools": [{"type": "function"}]}, "tools", "INVALID_INPUT"),
]


async def test_a_wrong_request_is_refused_with_the_name_of_its_field(client):
    for fields, param, reason in WRONG:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**{**asked(QUESTION), **fields})
        assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
        assert refused.value.code == reason.lower()
        assert refused.value.response.json()["error"]["reason"] == reason
        assert len(refused.value.message) < 700


async def test_fields_that_change_nothing_are_ignored(client):
    extra = {"top_k": 5, "chat_template_kwargs": {}, "tool_choice": "none", "store": False}
    reply = await client.chat.completions.create(
        **asked(QUESTION, presence_penalty=0, user="me", metadata={"a": "b"}, tools=[], n=None),
        response_format={"type": "text"},
        extra_body=extra,
    )
    assert reply.choices[0].message.content == true_answer(sha256(IMAGE), QUESTION)


async def test_a_body_that_is_no_json_object_is_refused(served):
    async with httpx.AsyncClient(base_url=served.url) as http:
        kind = {"content-type": "application/json"}
        for body in (b"", b"{", b"[]", b"null", b'{"messages": "\\ud800"}', b"\xff", b"[" * 9_000):
            reply = await http.post("/v1/chat/completions", content=body, headers=kind)
            assert reply.status_code == 400, body
            assert set(reply.json()["error"]) == {"reason", "message", "type", "param", "code"}
        form = await http.post("/v1/chat/completions", data={"model": "live"})
        assert (form.status_code, form.json()["error"]["param"]) == (400, "content-type")
        marks = json.dumps(asked(extra=[0] * 30_000)).encode()
        many = await http.post("/v1/chat/completions", content=marks, headers=kind)
        assert many.status_code == 400
        large = b'{"a": "' + b"x" * 40_000_000
        big = await http.post("/v1/chat/completions", content=large, headers=kind)
        assert (big.status_code, big.json()["error"]["reason"]) == (413, "REQUEST_TOO_LARGE")


async def test_limits_of_length(client):
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2, "max_tokens": 9}):
        reply = await client.chat.completions.create(**asked(WORDS, **limit))
        assert reply.choices[0].finish_reason == "length"
        assert reply.usage.completion_tokens == 2
    whole = await client.chat.completions.create(**asked(WORDS, max_tokens=100_000))
    assert whole.choices[0].finish_reason == "stop"


async def test_choices_differ_by_their_seed_and_repeat_with_it(client):
    options = {"temperature": 1.0, "n": 8}
    first, second, free = [
        await client.chat.completions.create(**asked(WORDS, **options, **seed))
        for seed in ({"seed": 5}, {"seed": 5}, {})
    ]
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == list(range(8))
    assert len(set(texts)) > 4
    assert [choice.message.content for choice in second.choices] == texts
    assert [choice.message.content for choice in free.choices] != texts
    assert first.usage.completion_tokens == sum(len(text.split()) for text in texts)


async def test_stop_sequences_are_no_part_of_the_text(client):
    whole = (await client.chat.completions.create(**asked(WORDS))).choices[0].message.content
    cut = await client.chat.completions.create(**asked(WORDS, stop=["\nAnswer", "never"]))
    assert cut.choices[0].message.content == whole.partition("\nAnswer")[0]
    assert cut.choices[0].finish_reason == "stop"


async def test_logprobs_of_the_tokens_of_the_text(client):
    scored = await client.chat.completions.create(**asked(WORDS, logprobs=True, top_logprobs=2))
    content = scored.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == scored.choices[0].message.content
    assert {len(entry.top_logprobs) for entry in content} == {2}
    assert all(entry.logprob == entry.top_logprobs[0].logprob == 0 for entry in content)
    bare = await client.chat.completions.create(**asked(WORDS, logprobs=True))
    assert [entry.top_logprobs for entry in bare.choices[0].logprobs.content] == [[]] * len(content)
    plain = await client.chat.completions.create(**asked(WORDS))
    assert plain.choices[0].logprobs is None


async def test_models_are_the_loaded_versions_the_pointers_and_the_aliases(tmp_path):
    settings = replace(
        fake_student_settings(tmp_path, skill=1.0), served_names=("gpt-4o", "org/model")
    )
    async with student_over_http(settings) as served, client_of(served) as client:
        publish(served.student, tmp_path / "other", skill=0.0)
        before = [model.id async for model in client.models.list()]
        await served.student.versions.load("v2")
        after = {model.id: model.root async for model in client.models.list()}
        assert before == ["v1", "live", "gpt-4o", "org/model"]
        assert after == {
            "v1": "v1",
            "v2": "v2",
            "live": "v1",
            "candidate": "v2",
            "gpt-4o": "v1",
            "org/model": "v1",
        }
        for name, version in after.items():
            found = await client.models.retrieve(name)
            assert (found.id, found.root, found.owned_by) == (name, version, "model-parity-aligner")
            assert found.created > 1_700_000_000
            reply = await client.chat.completions.create(**{**asked(), "model": name})
            assert reply.model == version
        for missing in ("v3", "previous", "org"):
            with pytest.raises(openai.NotFoundError) as refused:
                await client.models.retrieve(missing)
            assert refused.value.code == "model_not_found"


async def test_overload_is_told_as_openai_tells_it(tmp_path):
    shedder = LoadShedder(LoadSettings(most=1))
    settings = fake_student_settings(tmp_path, skill=1.0)
    async with student_over_http(settings, shedder) as served, client_of(served) as client:
        with pytest.raises(openai.RateLimitError) as many:
            await client.chat.completions.create(**asked(n=2))
        assert (many.value.code, many.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert int(many.value.response.headers["retry-after"]) >= 1
        assert (await client.chat.completions.create(**asked())).model == "v1"
