"""PA and PI on a real Ray cluster against the local stream: the same ledger, whatever dies."""

import asyncio
import io
import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from rich.console import Console

from services.core.errors import MpaError, Unavailable, WrongState
from services.orchestrator.alignment import choose, settle_base_version
from services.orchestrator.cli.commands import align
from services.orchestrator.distributed import cluster as clusters
from services.orchestrator.distributed.flow import Flow, complete
from services.orchestrator.images.reading import read_image
from services.orchestrator.rounds import StoppingRule
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import Version
from services.orchestrator.steps.admission import Admission, unfinished
from services.orchestrator.stream import IDENTIFIED, Stream
from services.rpc.client import StudentClient, TeacherClient
from tests.orchestrator.cli.test_main import align_arguments, at, start
from tests.orchestrator.cli.test_main import run as run_command
from tests.orchestrator.conftest import bench, rows, with_recipe
from tests.orchestrator.distributed.conftest import add_node
from tests.orchestrator.endpoints.test_processes import models
from tests.orchestrator.production.test_samples import write_samples
from tests.orchestrator.rounds import improving
from tests.orchestrator.scripted import ScriptedTeacher
from tests.processes import command_of
from tests.waiting import until

__all__ = ["models"]

pytestmark = pytest.mark.slow

PATIENCE_S = 300.0
ORDER = {
    "images": "path",
    "annotations": "image_sha256, number, attempt",
    "answers": "image_sha256, question, role",
    "records": "image_sha256, number",
}


def content(folder) -> dict:
    """Every row of the ledger, and the parity set."""
    ledger = Ledger(folder / "ledger.sqlite", read_only=True)
    try:
        tables = {
            table: list(ledger.read(f"SELECT * FROM {table} ORDER BY {order}"))
            for table, order in ORDER.items()
        }
    finally:
        ledger.close()
    return tables | {"parity set": (folder / "parity_set.jsonl").read_text()}


def identified(folder) -> int:
    """Images that are finished."""
    with suppress(MpaError):  # it is being made
        ledger = Ledger(folder / "ledger.sqlite", read_only=True)
        try:
            return int(next(ledger.read("SELECT count(*) FROM images WHERE step = 2"))[0])
        finally:
            ledger.close()
    return 0


def opened(folder, pool):
    """A run whose images are all beyond its pixel budget."""
    return open_run(folder, replace(new_settings(str(pool), "vqa", "rehearsal"), max_pixels=200))


async def near(folder, pool, sources) -> dict:
    """A run by the local stream, with the models in this process."""
    with opened(folder, pool) as run, Progress(Console(file=io.StringIO())) as progress:
        run.state.base = Version("v1")
        teacher = await sources["teacher"].teacher()
        student = await sources["student"].student()
        await Stream(run, run.find_images(), teacher, student).flow(progress, None)
        run.state.identified = True
        choose(run)
    return content(folder)


async def far(folder, pool, sources, address) -> dict:
    """A run by actors of the cluster that load the models; the images were admitted before."""
    with opened(folder, pool) as run, Progress(Console(file=io.StringIO())) as progress:
        run.state.base = Version("v1")
        admission = Admission(run)
        for item in unfinished(run, run.find_images(), IDENTIFIED):
            admission.admit(read_image(run.find_images(), item.key))
        with clusters.joined(address, 5):
            await Flow(run, sources, progress, stalled_s=60).identify()
        run.state.identified = True
        choose(run)
    return content(folder)


def actors(node) -> list[int]:
    """Processes of a node that hold a model."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [
        child.pid
        for child in raylet.children(recursive=True)
        if "MapBatches(Stage)" in command_of(child)
    ]


async def test_a_node_with_actors_is_lost_and_an_actor_killed_in_the_middle(
    tmp_path, pool, cluster, sources
):
    expected = await near(tmp_path / "near", pool, sources(max_batch=64))
    run = asyncio.create_task(far(tmp_path / "far", pool, sources(max_batch=4), cluster.address))
    await until(lambda: run.done() or identified(tmp_path / "far") > 0, PATIENCE_S)
    lost = max(cluster.worker_nodes, key=lambda node: len(actors(node)))
    others = [pid for node in cluster.worker_nodes - {lost} for pid in actors(node)]
    assert actors(lost)
    await asyncio.to_thread(cluster.remove_node, lost, allow_graceful=False)
    for pid in others[:1]:
        os.kill(pid, signal.SIGKILL)
    assert identified(tmp_path / "far") < 120, "all was over before"
    try:
        assert await run == expected
    finally:
        add_node(cluster)  # for the tests after this one


async def test_running_services_give_the_ledger_of_the_local_engine(tmp_path, pool, cluster):
    (pool / "again.png").write_bytes((pool / "007.png").read_bytes())
    (pool / "broken.png").write_bytes(b"no image")
    async with bench(tmp_path / "near", pool) as here:
        await here.align()
    async with bench(tmp_path / "far", pool) as there:
        there.where = replace(there.where, is_ray=True, ray_address=cluster.address)
        await there.align()
        assert there.teacher.calls["annotate"] == here.teacher.calls["annotate"]
    assert content(there.folder) == content(here.folder)
    assert "identify: 120/120 images" in there.output.getvalue()


async def test_a_limit_and_what_users_asked_in_two_rounds(tmp_path, pool, cluster):
    samples = write_samples(
        tmp_path / "samples",
        [(number, f"what color is sign {number}?") for number in range(55, 75)],
    )
    found = {}
    for name in ("near", "far"):
        async with bench(tmp_path / name, pool, student=improving(), limit=60) as b:
            b.where = replace(b.where, is_ray=name == "far", ray_address=cluster.address)
            with (
                open_run(b.folder, with_recipe(b.settings, held_out=0.4)) as run,
                b.progress() as progress,
            ):
                summary = await align(
                    run,
                    b.where,
                    None,
                    lambda _: True,
                    progress,
                    StoppingRule(2),
                    production=[samples],
                )
        pinned = {
            key: count for key, count in b.student.keys.items() if key[-1]
        }  # others are the traffic during swaps
        found[name] = content(b.folder), summary.audited, summary.rounds, b.teacher.keys, pinned
    assert found["far"] == found["near"]
    assert "look: 60/60 images" in b.output.getvalue()
    tables, audited, rounds, *_ = found["far"]
    assert (len(tables["images"]), sum(audited.values()), len(rounds)) == (60 + 15, 20, 2)


async def test_a_student_that_was_replaced_meanwhile_stops_the_run_for_good(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b, TeacherClient(b.where.teacher) as teacher:
        with opened(b.folder, pool) as run, b.progress() as progress:
            async with StudentClient(b.where.student) as student:
                await settle_base_version(run, student)
                b.student.weights["v1"] = "others"
                for _ in range(2):
                    with pytest.raises(WrongState, match="both have answered"):
                        await complete(run, teacher, student, progress)
                    b.student.weights.clear()


async def test_a_service_that_fails_stops_the_run_and_what_it_had_said_is_not_asked_again(
    tmp_path, pool, cluster
):
    def trouble(kind):
        is_down = (
            kind == "answer"
            and teacher.calls["annotate"]
            and teacher.calls["answer"] >= 10
            and not repaired
        )
        return Unavailable("maintenance") if is_down else None

    teacher = ScriptedTeacher(trouble=trouble)
    repaired = []
    async with bench(tmp_path / "near", pool) as here:
        await here.align()
    async with bench(tmp_path / "far", pool, teacher, patience_s=0.5) as there:
        there.where = replace(there.where, is_ray=True, ray_address=cluster.address)
        with pytest.raises(Unavailable, match="maintenance"):
            await there.align()
        said = {("teacher", *key[1:]): key for key in teacher.keys if key[0] == "answer"}
        heard = {("student", *key[1:3]): key for key in there.student.keys}
        recorded = rows(there.folder, "SELECT role, image_sha256, question FROM answers")
        assert set(recorded) == set(said) | set(heard)
        assert len(said) == teacher.calls["answer"] == 10
        annotated = rows(there.folder, "SELECT count(*) FROM annotations")
        assert annotated == [(teacher.calls["annotate"],)]
        repaired.append(True)
        await there.align()
        assert {teacher.keys[key] for key in said.values()} == {1}
        assert {there.student.keys[key] for key in heard.values()} == {1}
    assert there.parity_set() == here.parity_set()


async def test_a_run_that_is_cancelled_ends_its_pipeline(tmp_path, pool, cluster, sources):
    run = asyncio.create_task(
        far(tmp_path / "run", pool, sources(max_batch=1, latency_s=60), cluster.address)
    )
    await until(
        lambda: any(one.name.startswith("StreamingExecutor") for one in threading.enumerate()),
        PATIENCE_S,
    )
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    assert not [one.name for one in threading.enumerate() if one.name.startswith(clusters.THREADS)]


async def test_a_driver_that_is_stopped_or_killed_goes_on(tmp_path, pool, cluster):
    async with bench(tmp_path / "near", pool) as here:
        await here.align()
    async with bench(tmp_path / "far", pool, ScriptedTeacher(delay_s=0.3)) as there:
        command = align_arguments(
            there, *at(there), "--engine", "ray", "--ray-address", cluster.address, "--no-cache"
        )
        for sent, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
            before = identified(there.folder)
            process = await start(*command)
            await until(
                lambda before=before, process=process: (
                    identified(there.folder) > before or process.returncode is not None
                ),
                PATIENCE_S,
            )
            if process.returncode is None:
                process.send_signal(sent)
            _, said = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == code, said.decode()
        assert identified(there.folder) < 120
        there.where = replace(there.where, is_ray=True, ray_address=cluster.address)
        await there.align()
    assert content(there.folder) == content(here.folder)


async def test_models_in_actors_are_those_of_the_services(tmp_path, pool, models, cluster):
    about = ("align", pool, "--task", "vqa", "--local", "--no-cache")
    code, _, said = await run_command(*about, "--run", tmp_path / "near", **models)
    assert code == 0, said
    code, _, said = await run_command(
        *about,
        "--engine",
        "ray",
        "--ray-address",
        cluster.address,
        "--run",
        tmp_path / "far",
        **models,
    )
    assert code == 0, said
    assert content(tmp_path / "far") == content(tmp_path / "near")
