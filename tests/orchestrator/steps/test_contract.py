"""Judged as served: a version is judged in the words and decoding in which users ask it."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from protos.mpa.v1 import versions_pb2
from services.core.errors import WrongState
from services.core.recipes import RECIPES, Amendments
from services.engines.images import sha256
from services.orchestrator.cli import commands
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import Settings, new_settings
from services.rpc.client import Picture, StudentClient
from tests.orchestrator.conftest import bench
from tests.serving import fake_student_settings, serving_student, teacher_at

OF_V2 = """
SELECT i.path, a.question, a.answer
FROM answers a JOIN images i ON i.sha256 = a.image_sha256 WHERE a.version = 'v2'
"""


async def _align(folder, settings, where):
    output = io.StringIO()
    with open_run(folder, settings) as run, Progress(Console(file=output, width=200)) as progress:
        await commands.align(run, where, None, lambda _: True, progress)
    return output.getvalue()


@pytest.mark.parametrize(
    ("task", "recipe", "template", "tokens"),
    [
        ("captioning", "rehearsal", "{question}", 64),
        ("chartqa", "paper", RECIPES["paper"].answer_template, 32),
        ("vqa", "authors", RECIPES["authors"].answer_template, 128),
    ],
)
async def test_the_promoted_version_asked_plainly_answers_as_it_was_judged(
    tmp_path, pool, monkeypatch, task, recipe, template, tokens
):
    monkeypatch.setenv("MPA_FAKE_GAIN", "0.7")
    settings = new_settings(str(pool), task, recipe)
    settings = replace(settings, recipe=replace(settings.recipe, minimum_gap=1))
    async with (
        teacher_at(tmp_path / "teacher", skill=0.95) as teacher,
        serving_student(fake_student_settings(tmp_path, skill=0.2)) as peer,
        StudentClient(peer.address) as student,
    ):
        said = await _align(tmp_path / "run", settings, Where(teacher, peer.address))
        assert (await student.pointers()).live == "v2"
        contract = (await student.version("v2")).contract
        assert contract.differences(settings.contract) == []
        assert (contract.answer_template, contract.max_new_tokens) == (template, tokens)
        assert ("asked differently than of v1" in said) == (
            task != "chartqa" or contract.normaliser != "exact@1"
        )
        ledger = Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)
        judged = list(ledger.read(OF_V2))
        ledger.close()
        assert len(judged) >= 5
        for path, question, answer in judged:
            data = (pool / path).read_bytes()
            assert (await student.answer(Picture(sha256(data), data), question)).answer == answer


async def test_a_request_carries_the_whole_contract_and_the_loss(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="paper", matcher="anls") as b:
        await b.align()
    (request,) = b.student.trainings
    assert request.hyperparameters.loss == "sample"
    assert request.contract == versions_pb2.Contract(
        answer_template=RECIPES["paper"].answer_template,
        training_template=RECIPES["paper"].answer_template,
        normaliser="anls@1",
        decoding=versions_pb2.Contract.Decoding(max_new_tokens=32, top_p=1.0),
    )


async def test_the_processor_is_that_of_the_student_that_was_identified(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        b.student.contracts["v1"] = versions_pb2.Contract(processor_sha256="a" * 64)
        await b.align()
    assert b.student.trainings[0].contract.processor_sha256 == "a" * 64


async def test_a_candidate_that_would_be_served_otherwise_is_not_judged(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        b.student.keeps_contract = False
        with pytest.raises(
            WrongState, match=r"differently than it is judged .*max_new_tokens: 5, not 32"
        ):
            await b.align()
        assert b.student.live == "v1"


@pytest.mark.parametrize(("loss", "sent"), [(None, False), ("token", True), ("sample", True)])
async def test_a_loss_may_be_chosen(tmp_path, pool, loss, sent):
    async with bench(tmp_path / "run", pool, amendments=Amendments(loss=loss)) as b:
        await b.align()
    asked = b.student.trainings[0].hyperparameters
    assert asked.HasField("loss") == sent
    assert asked.loss == (loss or "")


def test_settings_of_an_earlier_release_are_read_and_stored_alike():
    settings = new_settings("images", "vqa", "rehearsal")
    assert '"loss"' not in settings.to_json()
    assert Settings.from_json(settings.to_json()) == settings
    assert '"loss": "sample"' in new_settings("images", "vqa", "paper").to_json()
