"""OpenAI's chat completions in parts, by its own client."""

import asyncio

import openai
import pytest

from tests.serving import fake_student_settings
from tests.student.over_http import asked, publish, student_over_http
from tests.student.test_completions import QUESTION, WORDS, WORDY, client, client_of, served
from tests.waiting import until

__all__ = ["client", "served"]


async def collected(stream):
    """The chunks of a stream, and the text of each choice."""
    chunks, texts = [], {}
    async for chunk in stream:
        chunks.append(chunk)
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    return chunks, texts


async def test_a_stream_gives_the_same_text_in_parts(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.01)
    async with student_over_http(settings) as served, client_of(served) as client:
        whole = await client.chat.completions.create(**asked(WORDS, seed=1, n=2, temperature=1))
        stream = await client.chat.completions.create(
            **asked(WORDS, seed=1, n=2, temperature=1, logprobs=True, top_logprobs=1),
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks, texts = await collected(stream)
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["x-mpa-version"] == "v1"
    assert len(chunks) > 8, "word by word"
    assert {(chunk.model, chunk.system_fingerprint) for chunk in chunks} == {("v1", "v1")}
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    ended = [c for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert [(choice.index, choice.finish_reason) for choice in ended] == [(0, "stop"), (1, "stop")]
    for choice in ended:
        tokens = "".join(entry.token for entry in choice.logprobs.content)
        assert tokens == texts[choice.index]


async def test_a_stream_ends_at_a_stop_sequence_of_which_nothing_is_sent(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.01)
    async with student_over_http(settings) as served, client_of(served) as client:
        whole = (await client.chat.completions.create(**asked(WORDS))).choices[0].message.content
        stop = whole[whole.index("\n") - 2 : whole.index("\n") + 4]
        stream = await client.chat.completions.create(**asked(WORDS, stop=stop), stream=True)
        _, texts = await collected(stream)
    assert texts[0] == whole.partition(stop)[0]


async def test_an_error_before_the_first_part_has_its_status(client):
    with pytest.raises(openai.NotFoundError) as refused:
        await client.chat.completions.create(**{**asked(), "model": "gpt-4o"}, stream=True)
    assert refused.value.code == "model_not_found"
    assert "there are v1, live" in refused.value.message


async def test_an_error_in_the_middle_of_a_stream_is_an_event(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.2)
    async with student_over_http(settings, request_s=0.7) as served, client_of(served) as client:
        stream = await client.chat.completions.create(**asked(WORDS), stream=True)
        with pytest.raises(openai.APIError, match="no answer within") as failed:
            await collected(stream)
        assert failed.value.code == "deadline_exceeded"
        assert served.entrance.requests.total == served.entrance.shedder.in_flight == 0


async def test_a_caller_who_leaves_a_stream_is_not_worked_for(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.2)
    async with student_over_http(settings) as served, client_of(served) as client:
        stream = await client.chat.completions.create(**asked(WORDS), stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        assert served.entrance.shedder.in_flight == 1
        await stream.close()
        await until(lambda: served.entrance.shedder.in_flight == 0)
        assert served.student.versions.slot("v1").leases == 0


async def test_a_stream_ends_on_the_version_that_it_began_with(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.1)
    async with student_over_http(settings) as served, client_of(served) as client:
        publish(served.student, tmp_path / "other", skill=0.0)
        stream = await client.chat.completions.create(**asked(WORDS), stream=True)
        first = await anext(stream)
        await served.student.versions.promote("v2")
        chunks, _ = await collected(stream)
        after = await client.chat.completions.create(**asked(QUESTION))
    assert {chunk.model for chunk in [first, *chunks]} == {"v1"}
    assert after.model == "v2"


async def test_many_streams_at_once(tmp_path):
    settings = fake_student_settings(tmp_path, skill=1.0, wordy=WORDY, word_s=0.002)
    async with student_over_http(settings) as served, client_of(served) as client:

        async def ask(number):
            question = f"{WORDY} {number}"
            stream = await client.chat.completions.create(
                **asked(question, seed=number), stream=True
            )
            return (await collected(stream))[1][0]

        texts = await asyncio.gather(*(ask(number) for number in range(40)))
    assert all(text.startswith(f"{WORDY} {number}") for number, text in enumerate(texts))
