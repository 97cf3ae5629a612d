"""Requests of evaluation kits, byte for byte, to the bundled student: same answers, same scores.

Recorded with the commands of docs/endpoint.md on 12 questions of easy-VQA. `reply` is the answer
that the kit got.
"""

import base64
import json
import string
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from services.core.metrics.answers import vqa_accuracy
from services.student.settings import StudentSettings
from tests.rpc.access.keyring import Keys
from tests.student.over_http import student_over_http

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
KITS = Path(__file__).parent / "kits"


def exact_match(reply, asked):
    """lmms-eval's, with `ignore_case` and `ignore_punctuation`."""
    punctuation = str.maketrans("", "", string.punctuation)
    return reply.lower().translate(punctuation) == asked["answer"]


def vqa_score(reply, asked):
    """VLMEvalKit's VizWiz."""
    return vqa_accuracy(reply, [asked["answer"]] * 10)


def choice(reply, asked):
    """VLMEvalKit's exact matching, for replies without a letter."""
    named = [letter for letter, text in asked["options"].items() if text in reply.lower()]
    return named == [asked["answer"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory):
    """The bundled student, with keys, and a client of it that has one."""
    folder = tmp_path_factory.mktemp("kits")
    keys = Keys(folder / "keys.json")
    header = {"Authorization": f"Bearer {keys.add('kit', 'ask')}"}
    settings = StudentSettings.from_env({"MPA_STUDENT_STORE": str(folder / "store")})
    async with (
        student_over_http(settings, access=keys.access()) as student,
        httpx.AsyncClient(base_url=student.url, headers=header, timeout=60) as http,
    ):
        yield http


@pytest.mark.parametrize(
    ("kit", "metric", "printed"),
    [
        ("lmms-eval", exact_match, 0.5),
        ("vlmevalkit-vqa", vqa_score, 0.5),
        ("vlmevalkit-choice", choice, 1 / 3),
    ],
)
async def test_a_kit_gets_the_answers_of_v1_vqa_and_the_score_that_it_printed(
    served, kit, metric, printed
):
    scores = []
    for line in (KITS / f"{kit}.jsonl").read_text().splitlines():
        asked = json.loads(line)
        kind = {"content-type": "application/json"}
        chat = await served.post("/v1/chat/completions", content=asked["body"], headers=kind)
        assert chat.status_code == 200, chat.text
        assert "x-mpa-ignored" not in chat.headers
        reply = chat.json()["choices"][0]["message"]["content"]
        image, question = parts(asked["body"])
        vqa = await served.post("/v1/vqa", files={"image": image}, data={"question": question})
        assert reply == vqa.json()["answer"] == asked["reply"]
        scores.append(metric(reply, asked))
    assert sum(scores) / len(scores) == pytest.approx(printed)


def parts(body):
    """Image and question."""
    (turn,) = json.loads(body)["messages"]
    image, text = turn["content"]
    return base64.b64decode(image["image_url"]["url"].partition(",")[2]), text["text"]
