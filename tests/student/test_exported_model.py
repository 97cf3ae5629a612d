"""An exported version answers in transformers alone as its service does, by its card's program."""

import asyncio
import re
import subprocess
import sys

import pytest

from protos.mpa.v1 import student_pb2
from services.student.settings import StudentSettings
from tests.pictures import numbered_png
from tests.serving import serving_student
from tests.tiny import save_tiny_checkpoint

pytestmark = pytest.mark.slow
QUESTIONS = ("what color is it?", "how many are there?")
ASK = """
image = Image.open(sys.argv[1]).convert("RGB")
for question in sys.argv[2:]:
    print(ascii(answer(image, question)))
assert not [name for name in sys.modules if name.partition(".")[0] == "services"]
"""


def program(card):
    """The card's first program."""
    return re.search(r"^(`{3,})python\n(.*?)^\1$", card, re.MULTILINE | re.DOTALL).group(2)


async def run_aside(command, cwd=None):
    """A process, while this one serves."""
    return await asyncio.to_thread(
        subprocess.run, command, cwd=cwd, capture_output=True, text=True, check=False
    )


async def test_an_exported_version_answers_as_its_service(tmp_path):
    settings = StudentSettings.from_env(
        {
            "MPA_STUDENT_MODEL": str(save_tiny_checkpoint(tmp_path / "model")),
            "MPA_STUDENT_STORE": str(tmp_path / "store"),
            "MPA_STUDENT_ENGINE": "transformers",
        }
    )
    picture, out = tmp_path / "photo.png", tmp_path / "out"
    picture.write_bytes(numbered_png(7))
    async with serving_student(settings) as peer:
        answers = []
        for question in QUESTIONS:
            request = student_pb2.AnswerRequest(
                image={"data": picture.read_bytes()}, question=question
            )
            answers.append((await peer.answers.Answer(request)).answer)
        words = ["versions", "export", "v1", str(out), "--student", peer.address]
        main = (sys.executable, "-m", "services.orchestrator.cli.main")
        done = await run_aside([*main, *words])
        assert done.returncode == 0, done.stderr
        again = await run_aside([*main, *words])
        assert (again.returncode, "already exists" in again.stderr) == (1, True)
    assert all(answers)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    script = tmp_path / "ask.py"
    script.write_text("import sys\n" + program((out / "README.md").read_text()) + ASK)
    asked = await run_aside([sys.executable, str(script), str(picture), *QUESTIONS], cwd=out)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.splitlines() == list(map(ascii, answers))
