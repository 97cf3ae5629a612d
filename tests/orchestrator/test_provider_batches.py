"""A whole run whose teacher is behind a batch API: repetitions collect replies, none is
asked twice.
"""

import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from protos.mpa.v1 import teacher_pb2_grpc
from services.core.errors import Pending
from services.core.tasks import ANSWER_INSTRUCTION
from services.engines.openai import engine as openai
from services.engines.openai.settings import BatchSettings, OpenAISettings
from services.engines.teacher import HostedTeacher
from services.rpc.images import ImageReceiver
from services.rpc.server import GrpcServer
from services.teacher.servicer import SERVICE, TeacherServicer
from tests.engines.provider import KEY, MODEL, providing, text_of
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import COLORS, draw
from tests.waiting import until


def say(body):
    """Annotations that the model confirms when it is asked blind."""
    text = text_of(body)
    is_annotation = ANSWER_INSTRUCTION not in text
    question = (
        f"what is number {body['seed'] % 100_000}?"
        if is_annotation
        else text.replace(ANSWER_INSTRUCTION, "").strip()
    )
    color = COLORS[int(draw("provider", question) * len(COLORS))]
    return f"Question: {question}\nAnswer: {color}" if is_annotation else color


@asynccontextmanager
async def teacher_at(provider, folder):
    """The address of a teacher that asks `provider` in batches, and its engine."""
    batch = BatchSettings(folder, size=50, wait_s=0.1, poll_s=0.05)
    engine = await openai.load(
        MODEL, OpenAISettings(base_url=provider.url, api_key=KEY, batch=batch)
    )
    servicer = TeacherServicer(lambda: HostedTeacher(engine), ImageReceiver())
    server = GrpcServer(
        lambda grpc_server: teacher_pb2_grpc.add_TeacherServiceServicer_to_server(
            servicer, grpc_server
        ),
        [SERVICE],
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    yield f"127.0.0.1:{port}", engine
    await server.stop(1.0)
    await engine.close()


async def test_a_run_through_batches_pays_for_every_request_once(tmp_path, pool):
    rounds = 0
    async with (
        providing(answer=say) as provider,
        bench(tmp_path / "run", pool, recipe="paper") as b,
    ):
        while True:
            rounds += 1
            assert rounds < 6
            # A teacher of its own for each round: between them the service may be stopped.
            async with teacher_at(provider, tmp_path / "batches") as (address, engine):
                b.where = replace(b.where, teacher=address)
                await until(lambda: not engine._batches._store.batches("under way"))
                try:
                    summary = await b.align()
                    break
                except Pending as error:
                    assert "annotations have to wait" in str(error)
            for name, batch in provider.batches.items():
                if batch["status"] == "in_progress":
                    provider.finish(name)
    lines = [
        line
        for name, file in provider.files.items()
        if name.startswith("file-")
        for line in file.splitlines()
    ]
    asked = Counter(json.loads(line)["custom_id"] for line in lines)
    assert max(asked.values()) == 1
    assert rounds == 3, "annotations, answers, and the rest"
    assert summary.teacher_calls == len(asked) > 150
    assert summary.cells["gap"] > 16
    assert summary.rejected == {}
    assert len(provider.batches) >= 4
    assert provider.requests == []
    assert summary.usage["teacher"].cost_usd == pytest.approx(
        len(asked) * (1000 * 2.5 + 10 * 10) / 1e6 / 2
    )
