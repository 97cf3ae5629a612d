"""Requests to chat completions, without a server."""

import json

import pytest

from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.rpc.http.completions.body import read_body
from services.rpc.http.completions.request import chat_question, image_url
from tests.student.over_http import asked, data_url, turn

QUESTION = "what color is it?"
IMAGE = data_url()


def body(**fields):
    return read_body(json.dumps({**asked(QUESTION), **fields}).encode())


def read(**fields):
    image_url(body(**fields))
    return chat_question(body(**fields))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [turn(QUESTION)]}, "messages"),
        ({"messages": [turn(QUESTION, IMAGE, IMAGE)]}, "messages"),
        ({"messages": [turn("", IMAGE, IMAGE), turn(QUESTION)]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "what?"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [turn(QUESTION, IMAGE), turn("red", role="assistant")]}, "messages"),
        ({"model": 7}, "model"),
        ({"model": "x" * 256}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": 1e300}, "n"),
        ({"logprobs": 5}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stop": ""}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
    ],
)
def test_a_wrong_field_is_named_as_openai_names_it(fields, param):
    with pytest.raises(InvalidInput) as refused:
        read(**fields)
    assert refused.value.field == param
    assert param in str(refused.value) or param == "messages"


def test_a_whole_number_may_be_written_with_a_point():
    found = read(max_tokens=9.0, seed=7.0, n=2.0, logprobs=True, top_logprobs=1e0)
    assert (found.max_tokens, found.seed, found.count, found.alternatives) == (9, 7, 2, 1)


@pytest.mark.parametrize(
    ("messages", "question", "image", "ignored"),
    [
        ([turn(QUESTION, IMAGE)], QUESTION, IMAGE, ()),
        ([turn("a", IMAGE), turn("b", "data:new")], "b", "data:new", ("earlier turns",)),
        ([turn("a", IMAGE), {"role": "user", "content": "b"}], "b", IMAGE, ("earlier turns",)),
        ([{"role": "system"}, turn("b", IMAGE)], "b", IMAGE, ("system",)),
        (
            [{"role": "developer", "content": [5]}, {"role": "tool"}, turn("b", IMAGE)],
            "b",
            IMAGE,
            ("system", "earlier turns"),
        ),
        (
            [{"role": "user", "content": [*turn("a")["content"], *turn("b", IMAGE)["content"]]}],
            "a\nb",
            IMAGE,
            (),
        ),
    ],
)
def test_the_last_turn_is_the_question_about_the_last_image(messages, question, image, ignored):
    found = read(messages=messages)
    assert (found.question, found.ignored) == (question, ignored)
    assert image_url(body(messages=messages)) == image


OWN = Decoding(temperature=0.5, top_p=0.9, max_new_tokens=64, seed=3)


def test_what_is_not_asked_for_is_the_contract_s():
    (found,) = read().decodings(OWN)
    assert (found.temperature, found.top_p, found.max_new_tokens) == (0.5, 0.9, 64)
    assert found.seed != read().decodings(OWN)[0].seed, "every request is another draw"


def test_what_is_asked_for_replaces_it():
    fields = {"temperature": 1, "top_p": 0.5, "max_tokens": 9, "seed": -1, "n": 3}
    found = read(**fields).decodings(OWN)
    assert [each.seed for each in found] == [2**63 - 1, 0, 1]
    assert {(each.temperature, each.top_p, each.max_new_tokens) for each in found} == {(1, 0.5, 9)}
    assert read(temperature=0, n=2, seed=7).decodings(OWN)[0].temperature == 0


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_tokens": 100_000}, 1024),
        ({"max_completion_tokens": 5, "max_tokens": 9}, 5),
        ({"max_tokens": None}, 64),
    ],
)
def test_limits_of_length(fields, tokens):
    assert read(**fields).decodings(OWN)[0].max_new_tokens == tokens
