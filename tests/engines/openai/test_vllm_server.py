"""The openai engine against a real `vllm serve`: the same model answers as in transformers."""

import asyncio
import io
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import replace

import httpx
import pytest

from services.core.annotation import ANNOTATION_PATTERN
from services.core.decoding import Decoding
from services.core.errors import InvalidInput, WrongState
from services.core.provenance import FinishReason
from services.core.tasks import TASKS, answer_prompt
from services.engines import tether
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.openai import engine as openai
from services.engines.openai.settings import OpenAISettings
from services.engines.settings import EngineSettings
from services.orchestrator.endpoints.processes import free_ports
from tests.e2e.processes import ROOT
from zoo.shapes import draw_scene, find_answer, list_questions

pytestmark = pytest.mark.slow
NAME = "bundled-teacher"
TEACHER = ROOT / "zoo" / "teacher"
IMAGES, QUESTIONS = 60, 2
AGREEMENT = 0.97
"""The two compute in another order, which may decide a near tie."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The base URL of a vLLM server with the bundled teacher."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    quiet = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }
    # The module of `vllm serve`: that command asks for a package that the CPU build lacks.
    program = ["services.engines.tether", "vllm.entrypoints.openai.api_server"]
    command = [sys.executable, "-m", *program, "--model", str(TEACHER)]
    command += f"--served-model-name {NAME} --max-model-len 1024".split()
    command += f"--host 127.0.0.1 --port {port} --dtype float32 --enforce-eager".split()
    # The checkpoint's own sampling defaults must not leak in.
    command += ["--generation-config", "vllm"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **quiet, **tether.mark(), "HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        end = time.monotonic() + 600
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
async def engine(server):
    loaded = await openai.load(NAME, OpenAISettings(base_url=server, guided="structured_outputs"))
    yield loaded
    await loaded.close()


def scenes(count):
    rng = random.Random(0)
    for _ in range(count):
        scene = draw_scene(rng)
        file = io.BytesIO()
        scene.image.save(file, "PNG")
        yield load_image(file.getvalue()), scene, rng


def prompts():
    grammar = list_questions()
    return [
        Prompt(image, answer_prompt(question))
        for image, scene, rng in scenes(IMAGES)
        for question in rng.sample(
            [q for q in grammar if find_answer(q, scene.shape, scene.color)], QUESTIONS
        )
    ]


async def test_it_answers_as_the_same_model_in_transformers(engine):
    asked = prompts()
    remote = await asyncio.gather(*[engine.generate(prompt) for prompt in asked])
    local_engine = await load_model(TEACHER, EngineSettings(device="cpu", threads=1))
    local = await asyncio.gather(*[local_engine.generate(prompt) for prompt in asked])
    await local_engine.close()
    same = sum(a.text == b.text for a, b in zip(remote, local, strict=True)) / len(asked)
    assert same >= AGREEMENT, f"{same:.1%} of {len(asked)}"
    assert len({reply.text for reply in local}) > 5, (
        "a model that always says the same would prove nothing"
    )
    assert [reply.prompt_tokens for reply in remote] == [reply.prompt_tokens for reply in local]
    assert {reply.finish_reason for reply in remote} == {FinishReason.STOP}
    assert {reply.cost_usd for reply in remote} == {0.0}


async def test_sampling_is_repeatable_by_seed_and_a_limit_cuts(engine):
    (image, _, _), *_ = scenes(1)
    task = TASKS["vqa"]
    sampled = Prompt(
        image,
        task.annotation_prompt,
        Decoding(temperature=1.0, top_p=0.95, max_new_tokens=64, seed=11),
    )
    first, again = await engine.generate(sampled), await engine.generate(sampled)
    others = [
        await engine.generate(replace(sampled, decoding=replace(sampled.decoding, seed=seed)))
        for seed in range(6)
    ]
    assert first.text == again.text
    assert len({reply.text for reply in others}) > 1
    cut = await engine.generate(replace(sampled, decoding=Decoding(max_new_tokens=2)))
    assert (cut.finish_reason, cut.completion_tokens) == (FinishReason.LENGTH, 2)


async def test_guided_decoding_writes_annotations(engine):
    (image, _, _), *_ = scenes(1)
    wild = Decoding(temperature=2.0, max_new_tokens=200, seed=5)
    reply = await engine.generate(Prompt(image, "what is it?", wild, pattern=ANNOTATION_PATTERN))
    assert reply.finish_reason is FinishReason.LENGTH or re.fullmatch(
        ANNOTATION_PATTERN, reply.text
    )
    assert reply.text.startswith("Question: ")


async def test_what_the_server_refuses_is_told(server, engine):
    (image, _, _), *_ = scenes(1)
    with pytest.raises(InvalidInput, match=r"refuses the request \(400"):
        await engine.generate(Prompt(image, "why? " * 2000))
    with pytest.raises(WrongState, match="the server has no model 'gpt-9', only bundled-teacher"):
        await openai.load("gpt-9", OpenAISettings(base_url=server))
