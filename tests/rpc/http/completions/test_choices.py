"""Replies that end at stop sequences, by a model that writes a letter at a time."""

import asyncio

import pytest

from services.core.provenance import FinishReason
from services.engines.batching import never
from services.engines.images import load_image
from services.engines.model import Prompt, Reply
from services.rpc.http.completions.choices import write
from tests.pictures import png

IMAGE = load_image(png())


class Writer:
    """A model that writes a text letter by letter, and notes how far it came."""

    fingerprint = "a writer"

    def __init__(self, text):
        self.text = text
        self.written = 0

    async def death(self):
        return await never()

    async def close(self):
        pass

    async def generate(self, prompt):
        for written in range(1, len(self.text) + 1):
            self.written = written
            if prompt.heard is not None:
                prompt.heard(Reply(self.text[:written], 3, written))
            await asyncio.sleep(0)
        letters = tuple(self.text)
        scores = (-1.0,) * len(letters) if prompt.scored else ()
        texts = letters if prompt.alternatives is not None else ()
        return Reply(self.text, 3, len(letters), token_texts=texts, logprobs=scores)


async def written(text, *stops, **fields):
    model, heard = Writer(text), []
    reply = await write(model, Prompt(IMAGE, "what?", **fields), stops, heard.append)
    return reply, heard, model


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("red and blue", [" and"], "red"),
        ("red and blue", ["blue", " a"], "red"),
        ("red and blue", ["bluer"], "red and blue"),
        ("red", ["red"], ""),
        ("aab", ["ab"], "a"),
        ("héé\n\nx", ["\n\n"], "héé"),
    ],
)
async def test_the_text_ends_before_the_first_stop_sequence(text, stops, expected):
    reply, heard, _ = await written(text, *stops)
    assert (reply.text, reply.finish_reason) == (expected, FinishReason.STOP)
    assert all(expected.startswith(part) for part in heard), "no part of a stop was told"
    silent = await write(Writer(text), Prompt(IMAGE, "what?"), stops, None)
    assert silent.text == expected


async def test_a_model_stops_writing_soon_after_the_stop_sequence():
    reply, _, model = await written("red." + "x" * 1_000, ".")
    assert reply.text == "red"
    assert model.written < 20
    assert reply.completion_tokens == 4


async def test_scores_end_with_the_text():
    reply, _, model = await written("red. blue", ".", scored=True, alternatives=0)
    assert (reply.text, "".join(reply.token_texts), len(reply.logprobs)) == ("red", "red", 3)
    assert model.written == 9, "the scores come with the whole reply"


async def test_a_model_that_fails_fails():
    class Failing(Writer):
        async def generate(self, prompt):
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        await write(Failing(""), Prompt(IMAGE, "what?"), ["a"], None)
