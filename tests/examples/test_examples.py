"""The examples, run as their docstrings say by an installation without extras."""

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos.mpa.v1 import training_pb2
from services.rpc.client import Picture, StudentClient
from tests.pictures import png

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUESTION = "what color is object 1?"
IMAGE = png()
SAMPLES = 20_000
"""Minutes of training, which the test cancels."""


def example(remote, name, *arguments):
    done = remote.run(EXAMPLES / f"{name}.py", *arguments, program="python")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_run():
    tested = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.stem}"' in tested, path


def test_both_faces_answer_alike(remote):
    image = remote.folder / "pool" / "000.png"
    over_grpc = example(remote, "ask", image, QUESTION, remote.student.address)
    url = f"http://127.0.0.1:{remote.student.http_port}"
    assert example(remote, "ask_over_http", image, QUESTION, url) == over_grpc
    assert re.search(r"\(v\d, \d tokens\)", over_grpc)


def test_the_parity_set_is_read(remote):
    read = example(remote, "read_parity_set", remote.folder / "run").splitlines()
    samples = (remote.folder / "run" / "parity_set.jsonl").read_text().splitlines()
    assert len(read) > len(samples) > 0
    assert "samples of cell 'gap'" in "\n".join(read)


def test_a_training_that_has_ended_is_reported(remote):
    printed = example(remote, "follow_training", remote.student.address)
    assert re.fullmatch(r"trained v\d+\n", printed)


async def test_a_training_is_followed_until_it_ends(remote):
    python, program = remote.installation.folder / "bin" / "python", EXAMPLES / "follow_training.py"
    async with StudentClient(remote.student.address) as student:
        dataset = await student.upload(parts)
        state = await student.train(training_pb2.TrainRequest(request_id="long", dataset=dataset))
    follower = await asyncio.create_subprocess_exec(
        *(python, "-u", program, remote.student.address),
        cwd=remote.folder,
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await follower.stdout.readline()).startswith(b"training: step ")
    async with grpc.aio.insecure_channel(remote.student.address) as channel:
        operations = operations_pb2_grpc.OperationsStub(channel)
        await operations.CancelOperation(
            operations_pb2.CancelOperationRequest(name=state.operation)
        )
    printed, _ = await follower.communicate()
    assert re.search(rb"failed: training \S+ was cancelled", printed)


async def parts():
    yield training_pb2.UploadDatasetRequest(image=IMAGE)
    for number in range(SAMPLES):
        sample = training_pb2.TrainingSample(
            image_sha256=Picture.of(IMAGE).sha256, question=f"what is {number}?", answer="red"
        )
        yield training_pb2.UploadDatasetRequest(sample=sample)
