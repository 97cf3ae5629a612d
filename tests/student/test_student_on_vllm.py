"""The student on vLLM over real gRPC: cancelled calls, a swap in place, a killed engine."""

import asyncio
import shutil

import grpc
import psutil
import pytest

from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.core.contract import Contract
from services.engines.choice import ZOO
from services.student import canaries, reference
from services.student.manifest import Origin
from services.student.settings import StudentSettings
from tests.serving import serving_student
from tests.waiting import until

pytestmark = pytest.mark.slow
SETTINGS = {"ENGINE": "vllm", "MAX_MODEL_LEN": 512, "THREADS": 1, "SWAP": "in_place"}


async def _another_version(folder):
    """The bundled student with noise on every matrix: most of its answers are others."""

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(ZOO / "student", folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if tensor.ndim >= 2:
            noise = torch.randn(tensor.shape, generator=generator) * tensor.float().std() * 0.5
            tensors[name] = (tensor.float() + noise).to(tensor.dtype)
    save_file(tensors, weights, metadata={"format": "pt"})
    await reference.compute(
        folder, Contract(), canaries.synthetic_questions(), parent=ZOO / "student"
    )
    return folder


def _ask(question, **decoding):
    image = canaries.synthetic_questions()[0]
    return student_pb2.AnswerRequest(
        image=types_pb2.Image(data=image.data),
        question=question,
        decoding=types_pb2.Decoding(**decoding),
    )


def _long_questions():
    """More questions than the engine answers in half a second."""
    return [_ask("why?", temperature=2.0, max_new_tokens=480, seed=seed) for seed in range(200)]


async def test_given_up_swapped_in_place_and_killed(tmp_path):
    settings = StudentSettings.from_env(
        {
            f"MPA_STUDENT_{name}": str(value)
            for name, value in {**SETTINGS, "STORE": tmp_path / "store"}.items()
        }
    )
    async with serving_student(settings) as peer:
        versions = peer.student.versions

        # A passed deadline, or a caller who hangs up, cancels the request in the engine.
        engine = versions.slot("v1").model
        late = [peer.answers.Answer(request, timeout=0.5) for request in _long_questions()]
        hanging_up = [peer.answers.Answer(request) for request in _long_questions()]
        await until(lambda: engine.unfinished > 0)
        for call in hanging_up:
            call.cancel()
        ended = await asyncio.gather(*late, return_exceptions=True)
        assert {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)} == {
            grpc.StatusCode.DEADLINE_EXCEEDED
        }
        await until(lambda: engine.unfinished == 0, timeout_s=5.0)

        # vLLM's CPU build keeps part of the old weights here. The canaries notice it, and a new
        # engine takes over: no request is lost.
        peer.student.store.add(
            await _another_version(tmp_path / "v2"), Origin(parent="v1"), Contract()
        )
        stop = asyncio.Event()
        seen = []

        async def client():
            while not stop.is_set():
                seen.append(
                    (await peer.answers.Answer(_ask("what shape is in the image?"))).version
                )

        clients = [asyncio.create_task(client()) for _ in range(4)]
        await until(lambda: "v1" in seen)
        promoted = await peer.versions.PromoteVersion(
            versions_pb2.PromoteVersionRequest(name="v2", expected_live="v1")
        )
        await until(lambda: seen[-1] == "v2")
        stop.set()
        await asyncio.gather(*clients)
        assert promoted.swap_way == versions_pb2.SWAP_WAY_IN_PLACE
        assert set(seen) == {"v1", "v2"}
        assert seen == sorted(seen), "after the swap no answer comes from the old version"
        listed = await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))
        assert listed.version.canaries_passed == listed.version.canaries == canaries.COUNT

        # The engine's process is killed: waiting callers get an error, and a new one starts.
        waiting = [peer.answers.Answer(request) for request in _long_questions()]
        dying = asyncio.create_task(versions.death())
        engine = versions.slot("v2").model
        await until(lambda: engine.unfinished > 0)
        for child in psutil.Process().children(recursive=True):
            if "EngineCore" in child.name():
                child.kill()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        codes = {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        assert "died" in await dying
        await versions.revive()
        assert (await peer.answers.Answer(_ask("what shape is in the image?"))).version == "v2"
