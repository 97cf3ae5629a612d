"""Options of a command where a run, or a student with a preset, exists already."""

import asyncio
import json
from dataclasses import replace
from functools import partial

import pytest

from protos.mpa.v1 import versions_pb2
from services.core.errors import Unavailable, WrongState
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.recipes import AS_IT_IS, RECIPES, Amendments
from services.engines.choice import ZOO
from services.orchestrator.cli import session
from services.orchestrator.cli.request import RunRequest
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import Settings, new_settings
from services.orchestrator.run.state import State
from tests.orchestrator.cli.test_main import at, run
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent
from tests.orchestrator.steps.test_anchoring import TAKES_ANCHORS

NOWHERE = Where("127.0.0.1:1", "127.0.0.1:1", patience_s=0.0)


def settings(
    folder, pool, where=NOWHERE, task="vqa", recipe="", amendments=AS_IT_IS, max_pixels=None
):
    request = RunRequest(
        folder=folder,
        where=where,
        images=str(pool),
        task=task,
        recipe=recipe,
        amendments=amendments,
        max_pixels=max_pixels,
    )
    return session.settings(request)


def begin(folder, **recipe_of_then):
    """A run as an earlier release has begun it."""
    with open_run(folder, recipe_of_then.pop("settings")):
        pass
    ledger = Ledger(folder / "ledger.sqlite")
    stored = json.loads(State(ledger).settings)
    stored["recipe"].update(recipe_of_then)
    stored["recipe"].pop("loss", None)
    State(ledger).settings = json.dumps(stored)
    ledger.close()


@pytest.mark.parametrize("preset", ["bundled", "qwen2vl-2b", "of-a-later-release", ""])
async def test_the_usual_recipe_is_the_same_for_every_student(tmp_path, pool, preset):
    async with bench(tmp_path / "run", pool) as b:
        b.student.preset = preset
        chosen = await asyncio.to_thread(settings, tmp_path / "new", pool, b.where)
    assert chosen.recipe == RECIPES["parity"]


async def test_named_choices_or_stored_ones_ask_no_student(tmp_path, pool):
    named = settings(tmp_path / "new", pool, recipe="authors", max_pixels=0)
    assert (named.recipe.name, named.pixel_budget) == ("authors", UNLIMITED)
    begin(tmp_path / "run", settings=new_settings(str(pool), "vqa", "authors"))
    assert settings(tmp_path / "run", pool).recipe.name == "authors"
    with pytest.raises(Unavailable):
        await asyncio.to_thread(settings, tmp_path / "new", pool)


async def test_the_usual_pixel_budget_is_that_of_the_live_version(tmp_path, pool):
    sizes = json.dumps({"max_pixels": 1_003_520, "patch_size": 14, "merge_size": 2})
    async with bench(tmp_path / "run", pool) as b:

        async def ask(max_pixels=None):
            asked = partial(settings, tmp_path / "new", pool, b.where, max_pixels=max_pixels)
            return (await asyncio.to_thread(asked)).pixel_budget

        assert await ask() == UNLIMITED
        b.student.contracts["v1"] = versions_pb2.Contract(pixel_budget=sizes)
        assert await ask() == PixelBudget(1_003_520, 28)
        assert await ask(1_003_520) == PixelBudget(1_003_520, 28)
        assert await ask(500_000) == PixelBudget(500_000, 28), "sides that its processor keeps"
        assert await ask(0) == UNLIMITED


def test_a_student_that_starts_here_has_the_pixel_budget_of_the_environment(
    tmp_path, pool, monkeypatch
):
    local = Where(is_local=True)
    assert settings(tmp_path / "new", pool, local).pixel_budget == UNLIMITED
    monkeypatch.setenv("MPA_STUDENT_PRESET", "qwen2vl-2b")
    assert settings(tmp_path / "new", pool, local).pixel_budget == PixelBudget(1_003_520, 28)
    monkeypatch.setenv("MPA_STUDENT_MODEL", str(ZOO / "student"))
    assert settings(tmp_path / "new", pool, local).pixel_budget == PixelBudget(1_003_520, 28)


def test_a_resumed_run_keeps_its_pixel_budget_and_an_earlier_release_s_has_none(tmp_path, pool):
    chosen = new_settings(str(pool), "vqa", "paper")
    begin(tmp_path / "early", settings=chosen)
    begin(tmp_path / "run", settings=replace(chosen, max_pixels=1_003_520, side_multiple=28))
    assert settings(tmp_path / "early", pool).pixel_budget == UNLIMITED
    assert settings(tmp_path / "run", pool).pixel_budget == PixelBudget(1_003_520, 28)
    assert settings(tmp_path / "run", pool, max_pixels=1_003_520).side_multiple == 28
    with (
        pytest.raises(WrongState, match="max_pixels: 1003520 there, 0 now"),
        open_run(tmp_path / "run", settings(tmp_path / "run", pool, max_pixels=0)),
    ):
        pass


async def test_align_takes_the_usual_recipe_and_the_loss_that_is_asked_for(tmp_path, pool):
    student = ScriptedStudent(forecast=TAKES_ANCHORS)
    async with bench(tmp_path / "run", pool, student=student) as b:
        code, output, errors = await run(
            "align", pool, "--task", "vqa", "--run", b.folder, *at(b), "--loss", "sample", "-y"
        )
    assert code == 0, errors
    assert "of the 85% of the images that aren't held out (recipe parity," in output
    assert b.student.trainings[0].hyperparameters.loss == "sample"


def test_a_run_of_an_earlier_release_goes_on_by_its_recipe_of_then(tmp_path, pool):
    begin(tmp_path / "paper", settings=new_settings(str(pool), "vqa", "paper"))
    begin(
        tmp_path / "captions",
        settings=new_settings(str(pool), "captioning", "rehearsal"),
        questions_per_image=2,
    )
    repeated = settings(tmp_path / "paper", pool)
    assert repeated.recipe.loss == ""
    with open_run(tmp_path / "paper", repeated) as opened:
        assert opened.settings == repeated
    with open_run(
        tmp_path / "captions", settings(tmp_path / "captions", pool, task="captioning")
    ) as opened:
        assert opened.settings.recipe.questions_per_image == 2
    named = settings(tmp_path / "paper", pool, amendments=Amendments(loss="sample"))
    with (
        pytest.raises(WrongState, match=r"paper\.loss:  there, sample now"),
        open_run(tmp_path / "paper", named),
    ):
        pass


def test_a_run_of_this_release_keeps_to_its_own_loss(tmp_path, pool):
    begun = new_settings(str(pool), "vqa", "paper", amendments=Amendments(loss="token"))
    with open_run(tmp_path / "run", begun):
        pass
    with (
        pytest.raises(WrongState, match="loss: token there, sample now"),
        open_run(tmp_path / "run", settings(tmp_path / "run", pool)),
    ):
        pass
    assert Settings.from_json(replace(begun, limit=1).to_json()).recipe.loss == "token"
