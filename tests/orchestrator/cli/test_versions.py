"""`mpa-orch versions` against a real student with the scripted engine."""

import asyncio
import json
import sys

import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.student.manifest import Origin
from tests.serving import fake_checkpoint, fake_student_settings, serving_student

pytestmark = pytest.mark.slow


async def mpa_orch(*arguments):
    """Exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.orchestrator.cli.main", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_versions_are_listed_deleted_and_pruned(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        for number in range(2, 7):
            folder = fake_checkpoint(tmp_path / f"checkpoint-{number}", skill=0.9)
            origin = Origin(parent="v1", run="runs/one", recipe="paper")
            peer.student.store.add(folder, origin, Contract())
        trial = Origin(parent="v1", run="experiment one", recipe="filtered", is_trial=True)
        for _ in range(2):
            peer.student.store.add(fake_checkpoint(tmp_path / "trial"), trial, Contract())
        await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name="v3"))
        at = ("--student", peer.address)
        code, out, err = await mpa_orch("versions", "list", *at, "--json")
        assert code == 0, err
        listed = json.loads(out)
        pointers = listed["pointers"]
        assert [pointers[role] for role in ("live", "candidate", "previous")] == ["v3", "", "v1"]
        assert [version["name"] for version in listed["versions"]] == [f"v{n}" for n in range(1, 9)]
        assert listed["versions"][2]["needed"] == "it is the live version"
        assert all(version["size_bytes"] > 0 for version in listed["versions"])
        _, out, _ = await mpa_orch("versions", "show", "v3", *at)
        assert "pointer      live\n" in out
        assert "kept         it is the live version\n" in out
        code, _, err = await mpa_orch("versions", "delete", "v3", *at, "--yes")
        assert code == 1
        assert "version v3 can't be deleted: it is the live version" in err
        code, _, err = await mpa_orch("versions", "prune", "--keep", "2", *at)
        assert code == 2
        assert "give --yes" in err
        code, out, err = await mpa_orch("versions", "prune", "--keep", "2", *at, "--yes")
        assert (code, out.partition(":")[0]) == (0, "v2, v4, v7, v8"), err
        assert peer.student.store.names() == ["v1", "v3", "v5", "v6"]
