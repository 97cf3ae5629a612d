"""The batch API: a request is submitted once and found again, even after a kill."""

import asyncio
import json

import pytest

from services.core.decoding import Decoding
from services.core.errors import BadReply, Conflict, InvalidInput, Pending, WrongState
from services.core.provenance import FinishReason
from services.engines.images import load_image
from services.engines.model import (
    Prompt,
)
from services.engines.openai import engine as openai
from tests.engines.openai.asking import IMAGE, prompt, running
from tests.engines.provider import MODEL, completion, providing, text_of
from tests.pictures import png
from tests.waiting import until

QUESTIONS = [f"number {number}?" for number in range(5)]


def batching(provider, folder, **variables):
    usual = {"BATCH": 1, "BATCH_FOLDER": folder, "BATCH_WAIT_S": 0.2, "BATCH_POLL_S": 0.05}
    return running(provider, **{**usual, **variables})


async def outcomes(engine, questions=QUESTIONS):
    return await asyncio.gather(
        *[engine.generate(prompt(text)) for text in questions], return_exceptions=True
    )


async def handed_in(engine):
    await until(lambda: engine._batches._store.batches("under way"))


async def settled(engine, questions=QUESTIONS):
    """Asks until nothing is pending."""
    for _ in range(500):
        found = await outcomes(engine, questions)
        if not any(isinstance(one, Pending) for one in found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def test_questions_become_one_batch_at_half_the_price(tmp_path):
    async with providing() as provider, batching(provider, tmp_path) as engine:
        assert all(
            isinstance(one, Pending) and "next batch" in str(one) for one in await outcomes(engine)
        )
        await handed_in(engine)
        assert all("batch_0 is under way" in str(one) for one in await outcomes(engine))
        provider.finish("batch_0")
        replies = await settled(engine)
        requests = [json.loads(line) for line in provider.files["file-0"].splitlines()]
    assert [reply.text for reply in replies] == [completion_text(text) for text in QUESTIONS]
    assert replies[0].cost_usd == pytest.approx((1000 * 2.5 + 10 * 10) / 1e6 / 2)
    assert replies[0].system_fingerprint == "fp_a1b2c3"
    assert sorted(text_of(request["body"]) for request in requests) == QUESTIONS
    assert {(request["method"], request["url"]) for request in requests} == {
        ("POST", "/v1/chat/completions")
    }
    assert len({request["custom_id"] for request in requests}) == 5
    assert (len(provider.batches), provider.requests) == (1, [])


def completion_text(text):
    from tests.engines.provider import say

    return say({"messages": [{"content": [{"type": "text", "text": text}]}], "seed": 0})


async def test_another_seed_image_or_question_is_another_request(tmp_path):
    async with providing() as provider, batching(provider, tmp_path) as engine:
        other = Prompt(load_image(png("blue")), "what is it?")
        for asked in (prompt(), prompt(), prompt(decoding=Decoding(seed=1)), prompt("why?"), other):
            with pytest.raises(Pending):
                await engine.generate(asked)
        await until(lambda: provider.batches)
    assert len(provider.files["file-0"].splitlines()) == 4


async def test_a_batch_under_way_outlives_its_service_and_is_not_paid_twice(tmp_path):
    async with providing() as provider:
        async with batching(provider, tmp_path) as engine:
            await outcomes(engine)
            await until(lambda: provider.batches)
        provider.finish("batch_0")
        async with batching(provider, tmp_path) as engine:
            assert [reply.text for reply in await settled(engine)] == [
                completion_text(text) for text in QUESTIONS
            ]
        async with batching(provider, tmp_path) as engine:
            assert all(reply.text for reply in await outcomes(engine)), (
                "a finished batch answers at once"
            )
    assert len(provider.batches) == 1


async def test_what_is_collected_is_handed_in_when_the_service_stops(tmp_path):
    async with providing() as provider:
        async with batching(provider, tmp_path, BATCH_WAIT_S=3600) as engine:
            await outcomes(engine)
            assert not provider.batches
        assert len(provider.batches) == 1
        async with batching(provider, tmp_path) as engine:
            assert all("batch_0" in str(one) for one in await outcomes(engine))


async def killed(engine):
    """Leaves an engine as SIGKILL does."""
    engine._batches._worker.cancel()
    engine._batches._store.close()
    await engine._api.close()


async def test_killed_while_collecting_it_goes_on_from_the_folder(tmp_path):
    async with providing() as provider:
        engine = await batching(provider, tmp_path, BATCH_WAIT_S=3600).__aenter__()
        await outcomes(engine)
        await killed(engine)
        async with batching(provider, tmp_path):
            await until(lambda: provider.batches)
    assert len(provider.files["file-0"].splitlines()) == 5


@pytest.mark.parametrize("created", [True, False])
async def test_killed_between_upload_and_creation_no_second_batch_is_made(tmp_path, created):
    async with providing() as provider:
        engine = await batching(provider, tmp_path).__aenter__()
        await outcomes(engine)
        await handed_in(engine)
        # As if the service had been killed before it heard that the batch exists.
        engine._batches._store._db.execute("UPDATE batches SET state = 'new', batch_id = ''")
        await killed(engine)
        if not created:
            provider.batches.clear()
        async with batching(provider, tmp_path) as again:
            await until(lambda: provider.batches)
            provider.finish("batch_0")
            assert all(reply.text for reply in await settled(again))
    assert (len(provider.batches), provider.uploads) == (1, 1)


async def test_results_that_are_no_answers(tmp_path):
    def one_by_one(number, body):
        response = {
            QUESTIONS[0]: {"status_code": 200, "body": completion(None, refusal="No.")},
            QUESTIONS[1]: {
                "status_code": 400,
                "body": {"error": {"message": "bad image", "code": "invalid_image"}},
            },
            QUESTIONS[2]: {
                "status_code": 400,
                "body": {"error": {"message": "no", "code": "content_policy_violation"}},
            },
            QUESTIONS[3]: {"status_code": 200, "body": completion("")},
        }.get(text_of(body))
        return response and {"response": response, "error": None}

    async with providing() as provider, batching(provider, tmp_path) as engine:
        await outcomes(engine)
        await until(lambda: provider.batches)
        provider.finish("batch_0", outcomes=one_by_one)
        refusal, bad, filtered, empty, fine = await settled(engine)
        assert (refusal.finish_reason, refusal.text) == (FinishReason.REFUSAL, "No.")
        assert isinstance(bad, InvalidInput)
        assert "bad image" in str(bad)
        assert filtered.finish_reason is FinishReason.CONTENT_FILTER
        assert isinstance(empty, BadReply)
        assert fine.finish_reason is FinishReason.STOP
        with pytest.raises(Pending):
            await engine.generate(
                prompt(QUESTIONS[3])
            )  # after an unusable reply the request is asked again


async def test_what_expired_or_met_a_bad_moment_is_handed_in_again(tmp_path):
    def bad_moment(number, body):
        overloaded = {
            "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}},
            "error": None,
        }
        return {0: "expired", 1: overloaded}.get(number)

    async with providing() as provider, batching(provider, tmp_path) as engine:
        await outcomes(engine)
        await until(lambda: provider.batches)
        provider.finish("batch_0", status="expired", outcomes=bad_moment)

        async def finish_the_second():
            await until(lambda: "batch_1" in provider.batches)
            provider.finish("batch_1")

        finishing = asyncio.create_task(finish_the_second())
        assert all(reply.text for reply in await settled(engine))
        await finishing
    assert len(provider.files["file-1"].splitlines()) == 2


async def test_a_batch_that_is_refused_as_a_whole_is_told_once_and_then_asked_anew(tmp_path):
    async with providing() as provider, batching(provider, tmp_path) as engine:
        await outcomes(engine)
        await until(lambda: provider.batches)
        provider.batches["batch_0"] |= {
            "status": "failed",
            "errors": {"data": [{"message": "enqueued token limit reached"}]},
        }
        await until(lambda: engine._batches._store.batches("failed"))
        with pytest.raises(WrongState, match=r"batch_0 \(enqueued token limit reached"):
            await engine.generate(prompt(QUESTIONS[0]))
        await outcomes(engine)
        await until(lambda: "batch_1" in provider.batches)
    assert len(provider.files["file-1"].splitlines()) == 5


async def test_a_provider_without_a_batch_api_is_told(tmp_path):
    async with providing(has_batches=False) as provider, batching(provider, tmp_path) as engine:
        await outcomes(engine)
        await until(lambda: engine._batches._trouble)
        with pytest.raises(WrongState, match="start without MPA_TEACHER_BATCH"):
            await engine.generate(prompt(QUESTIONS[0]))


async def test_a_batch_that_cannot_be_looked_up_reports_the_reason_and_holds_up_no_other(tmp_path):
    """The provider's reply about it can't be read for a while."""
    async with (
        providing() as provider,
        batching(provider, tmp_path, BATCH_SIZE=2, BATCH_WAIT_S=3600) as engine,
    ):
        await outcomes(engine, QUESTIONS[:4])
        await until(lambda: len(engine._batches._store.batches("under way")) == 2)
        provider.batches["batch_0"]["request_counts"] = "many"
        await until(lambda: engine._batches._delays)
        provider.finish("batch_1")
        replies = await settled(engine, QUESTIONS[2:4])
        assert [reply.text for reply in replies] == [
            completion_text(text) for text in QUESTIONS[2:4]
        ]
        with pytest.raises(Pending, match=r"its last try failed: AttributeError: 'str'"):
            await engine.generate(prompt(QUESTIONS[0]))
        del provider.batches["batch_0"]["request_counts"]
        provider.finish("batch_0")
        await settled(engine, QUESTIONS[:2])


async def test_a_large_pile_becomes_several_batches(tmp_path):
    async with (
        providing() as provider,
        batching(provider, tmp_path, BATCH_SIZE=2, BATCH_WAIT_S=3600) as engine,
    ):
        await outcomes(engine)
        await until(lambda: len(provider.batches) == 2)
    sizes = [
        len(provider.files[batch["input_file_id"]].splitlines())
        for batch in provider.batches.values()
    ]
    assert sizes == [2, 2, 1]


async def test_a_folder_has_one_owner(tmp_path):
    async with providing() as provider, batching(provider, tmp_path) as engine:
        with pytest.raises(Conflict, match="another teacher"):
            await openai.load(MODEL, batching(provider, tmp_path).settings)
        assert IMAGE.sha256
        assert engine.fingerprint == openai.identity(MODEL, engine._chat.settings)
