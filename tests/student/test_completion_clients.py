"""Chat completions by other clients, unchanged: JavaScript, LangChain, LiteLLM, the README's."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from services.engines.fake import true_answer
from services.engines.images import sha256
from tests.rpc.access.keyring import Keys
from tests.serving import fake_student_settings
from tests.student.over_http import IMAGE, data_url, student_over_http
from tests.tools import missing

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "build" / "js"
QUESTION = "what color is it?"
LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
url, question, image = sys.argv[1:]
model = ChatOpenAI(model="live", base_url=f"{url}/v1", api_key="none", temperature=0)
parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": image}}]
turns = [("system", "Be brief."), ("user", parts)]
reply = model.invoke(turns)
assert reply.response_metadata["system_fingerprint"] == "v1", reply
assert reply.usage_metadata["output_tokens"] == 1, reply
streamed = "".join(part.text for part in model.stream(turns))
assert streamed == reply.text, streamed
print(reply.text)
"""
LITELLM = """
import sys
import litellm
url, question, image = sys.argv[1:]
parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": image}}]
asked = {"model": "openai/live", "api_base": f"{url}/v1", "api_key": "none", "max_tokens": 2048,
         "messages": [{"role": "user", "content": parts}]}
reply = litellm.completion(**asked)
assert reply.usage.completion_tokens == 1, reply
chunks = list(litellm.completion(**asked, stream=True))
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
assert streamed == reply.choices[0].message.content, streamed
print(streamed)
"""


@pytest.fixture
async def served(tmp_path):
    async with student_over_http(fake_student_settings(tmp_path, skill=1.0)) as served:
        yield served


async def said(*command, folder=None, **variables):
    """The output of a program, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode().strip()


@pytest.mark.parametrize("program", [LANGCHAIN, LITELLM], ids=["langchain", "litellm"])
async def test_a_framework_answers_and_streams(served, program):
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}
    told = await said(sys.executable, "-c", program, served.url, QUESTION, data_url(), **local)
    assert told == true_answer(sha256(IMAGE), QUESTION)


async def test_the_lines_of_the_readme_answer(tmp_path):
    keys = Keys(tmp_path / "keys.json")
    (tmp_path / "me.key").write_text(keys.add("me", "ask") + "\n")
    (tmp_path / "photo.jpg").write_bytes(IMAGE)
    readme = (ROOT / "README.md").read_text()
    (block,) = [each for each in re.findall(r"(?:^    .*\n)+", readme, re.M) if "OpenAI(" in each]
    program = re.sub(r"^    ", "", block, flags=re.M)
    (question,) = re.findall(r'"text": "([^"]+)"', program)
    settings = fake_student_settings(tmp_path, skill=1.0)
    async with student_over_http(settings, access=keys.access()) as guarded:
        program = program.replace("http://localhost:3000", guarded.url)
        told = await said(sys.executable, "-c", program, folder=tmp_path)
    assert told == true_answer(sha256(IMAGE), question)


async def test_the_client_of_javascript(served, tmp_path):
    node = shutil.which("node")
    if node is None or not (MODULES / "node_modules" / "openai").is_dir():
        missing("no node, or no client of JavaScript: make openai-js")
    (tmp_path / "photo.png").write_bytes(IMAGE)
    # Node looks for modules next to the program.
    (tmp_path / "node_modules").symlink_to(MODULES / "node_modules")
    shutil.copy(ROOT / "examples" / "ask.mjs", tmp_path)
    told = await said(node, tmp_path / "ask.mjs", tmp_path / "photo.png", QUESTION, served.url)
    assert told == f"{true_answer(sha256(IMAGE), QUESTION)}  (v1, 1 tokens)"
