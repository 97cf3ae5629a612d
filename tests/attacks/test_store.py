"""A damaged store: the service starts, names the damage, and serves the intact versions."""

import asyncio
import json
import shutil

import grpc
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import training_pb2, versions_pb2
from tests.attacks.bystander import IMAGE, SHA256, besieged
from tests.attacks.outcomes import TRAIN, UPLOAD, call_once
from tests.attacks.target import Target
from tests.e2e.processes import serving

pytestmark = pytest.mark.slow
LIST = "/mpa.v1.VersionService/ListVersions"
LIST_OPERATIONS = "/google.longrunning.Operations/ListOperations"
PROMOTE = "/mpa.v1.VersionService/PromoteVersion"
WAIT = "/google.longrunning.Operations/WaitOperation"


async def train_twice(address):
    """Trains two more versions and promotes the second."""
    sample = training_pb2.TrainingSample(image_sha256=SHA256, question="what?", answer="teal")
    picture, named = (
        training_pb2.UploadDatasetRequest(image=IMAGE),
        training_pb2.UploadDatasetRequest(sample=sample),
    )
    uploaded = await call_once(address, UPLOAD, picture, named)
    for number in range(2):
        request = training_pb2.TrainRequest(request_id=str(number), dataset=uploaded.reply.dataset)
        started = await call_once(address, TRAIN, request)
        waiting = operations_pb2.WaitOperationRequest(name=started.reply.name)
        done = await call_once(address, WAIT, waiting, timeout_s=90)
        assert done.reply.HasField("response"), done
    promoted = await call_once(address, PROMOTE, versions_pb2.PromoteVersionRequest(name="v2"))
    assert promoted.status == "OK"


@pytest.fixture(scope="module")
def template(tmp_path_factory, model):
    """A store with three versions: the base and two trained ones, of which one is live."""
    folder = tmp_path_factory.mktemp("template")
    with serving("student", folder, model=model, store=folder / "store") as service:
        asyncio.run(train_twice(service.address))
    return folder / "store"


def first_job(store):
    return sorted((store / "jobs").iterdir())[0]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_manifests(store):
    """Damages four other versions, each in its own way."""
    cut(store / "versions/v3/manifest.json")
    for name, content in (("v4", b"[1]"), ("v5", b""), ("v6", b"\xff\xfe\0")):
        shutil.copytree(store / "versions/v2", store / "versions" / name)
        (store / "versions" / name / "manifest.json").write_bytes(content)


def add_strangers(store):
    """Folders and a file that are no versions."""
    for name in ("vX", "v²", ".incoming-v4"):
        shutil.copytree(store / "versions/v3", store / "versions" / name)
    (store / "versions/v9").write_text("x")


DAMAGE = {
    "other versions' manifests": damage_manifests,
    "strangers among the versions": add_strangers,
    "another version's canaries cut off": lambda store: cut(
        store / "versions/v3/canaries/canaries.json"
    ),
    "a finished job's state cut off": lambda store: cut(first_job(store) / "state.json"),
    "a finished job's state of another kind": lambda store: (
        first_job(store) / "state.json"
    ).write_text('{"phase": "odd"}'),
    "a finished job cut off": lambda store: cut(first_job(store) / "job.json"),
    "a finished job's progress cut off": lambda store: cut(first_job(store) / "progress.json"),
    "the pointers cut off": lambda store: cut(store / "pointers.json"),
    "the pointers empty": lambda store: (store / "pointers.json").write_bytes(b""),
    "the pointers to nothing": lambda store: (store / "pointers.json").write_text(
        json.dumps({"live": "v77", "candidate": "v78", "previous": "v79"})
    ),
    "the live version's manifest cut off": lambda store: cut(store / "versions/v2/manifest.json"),
    "the live version's weights changed": lambda store: (
        store / "versions/v2/fake.json"
    ).write_text('{"skill": 0.0}'),
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_damage_is_confined(template, tmp_path, kind):
    """Intact versions and trainings are listed, and one version answers correctly."""
    store = tmp_path / "store"
    shutil.copytree(template, store)
    DAMAGE[kind](store)
    with serving("student", tmp_path, model=tmp_path / "nowhere", store=store) as service:
        target = Target("student", service)
        async with besieged(target):
            listed = await call_once(service.address, LIST, versions_pb2.ListVersionsRequest())
            operations = await call_once(
                service.address, LIST_OPERATIONS, operations_pb2.ListOperationsRequest()
            )
        assert listed.status == operations.status == "OK", (listed.said, operations.said)
        assert {version.name for version in listed.reply.versions} >= {"v1"}
        assert listed.reply.live in ("v1", "v2", "v3")
        assert len(operations.reply.operations) >= 1


async def test_a_second_owner_of_a_store_is_refused_and_the_first_goes_on(student, tmp_path, model):
    store = student.service.log.parent / "store"
    async with besieged(student):
        with serving("student", tmp_path, model=model, store=store, wait=False) as second:
            second.process.poll()
            with (
                grpc.insecure_channel(second.address) as channel,
                pytest.raises(grpc.FutureTimeoutError),
            ):
                grpc.channel_ready_future(channel).result(timeout=6)
