import asyncio

import pytest

from services.core.annotation import Annotation, parse_annotation
from services.core.decoding import Decoding
from services.core.diversity import focused, told
from services.core.errors import EngineFailed, Unavailable
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt
from services.engines.fake import FakeEngine, FakeModel, reply_text, true_answer
from services.engines.images import load_image
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

IMAGES = [load_image(numbered_png(number)) for number in range(100)]


every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@every_recipe
@every_task
def test_a_skilled_fake_agrees_with_its_own_annotations_under_every_recipe_and_task(recipe, task):
    model = FakeModel(skill=1.0)
    annotation = parse_annotation(
        reply_text(model, Prompt(IMAGES[0], recipe.annotation_prompt(task), Decoding(seed=3))), task
    )
    assert isinstance(annotation, Annotation)
    asked = Prompt(IMAGES[0], answer_prompt(annotation.question, recipe.answer_template))
    assert (
        reply_text(model, asked)
        == annotation.answer
        == true_answer(IMAGES[0].sha256, annotation.question)
    )


@every_recipe
@every_task
def test_wishes_stand_before_a_request_to_annotate(recipe, task):
    prompt = focused(told(recipe.annotation_prompt(task), ["what is it?"]), "how many")
    reply = reply_text(FakeModel(), Prompt(IMAGES[0], prompt, Decoding(seed=3)))
    assert isinstance(parse_annotation(reply, task), Annotation)


@pytest.mark.parametrize("template", sorted({task.answer_template for task in TASKS.values()}))
@pytest.mark.parametrize(
    "question",
    [
        "Question: what color is it?\nOptions:\nA. red\nB. teal\nPlease select one. \n",
        "Reply in this form:\nQuestion: Q\nAnswer: A",
        TASKS["vqa"].annotation_prompt + "\nwhat color is it?",
    ],
    ids=["options", "form", "quotation"],
)
def test_a_question_is_no_request_to_annotate_whatever_its_words(template, question):
    asked = Prompt(IMAGES[0], answer_prompt(question, template))
    assert reply_text(FakeModel(skill=1.0), asked) == true_answer(IMAGES[0].sha256, question)


def test_more_skill_knows_all_that_less_skill_does():
    def known(skill):
        model = FakeModel(skill=skill)
        replies = [
            reply_text(model, Prompt(image, answer_prompt("what is it?"))) for image in IMAGES
        ]
        return {number for number, reply in enumerate(replies) if reply != "unknown"}

    assert known(0.3) < known(0.7) < known(1.0)
    assert 15 <= len(known(0.3)) <= 45


@pytest.fixture
async def wicked(tmp_path):
    """An engine that can be harmed in three ways."""
    words = {"deadly": "poison", "hanging": "quicksand", "failing": "stone"}
    folder = fake_checkpoint(tmp_path / "wicked", skill=1.0, **words)
    engine = FakeEngine(folder, EngineSettings(engine="fake", watchdog_s=0.2), "wicked")
    yield engine
    await engine.close()


async def _ask(engine, *questions):
    prompts = [Prompt(IMAGES[0], answer_prompt(question)) for question in questions]
    async with asyncio.timeout(60):
        return await asyncio.gather(
            *(engine.generate(prompt) for prompt in prompts), return_exceptions=True
        )


async def test_a_failing_question_fails_alone(wicked):
    failed, answered = await _ask(wicked, "what is this stone?", "what is this?")
    assert isinstance(failed, EngineFailed)
    assert answered.text == true_answer(IMAGES[0].sha256, "what is this?")


@pytest.mark.parametrize(("word", "reason"), [("poison", "deadly"), ("quicksand", "hangs")])
async def test_a_deadly_question_and_one_that_hangs_are_the_engines_death(wicked, word, reason):
    outcomes = await _ask(wicked, f"what is this {word}?", "what is this?")
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    async with asyncio.timeout(60):
        assert reason in await wicked.death()
    assert isinstance((await _ask(wicked, "what is this?"))[0], Unavailable)
