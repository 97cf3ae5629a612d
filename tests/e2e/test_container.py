"""Pods of deploy/kubernetes: not root, on a read-only root, with their own folders alone."""

import os
import subprocess
import sys

import httpx
import pytest

from services.rpc.client import StudentClient
from tests.e2e.container import container, require_isolation
from tests.e2e.processes import build_bento
from tests.e2e.training import IMAGES, PICTURES, train
from tests.manifests import KUBERNETES, rendered

pytestmark = pytest.mark.slow
GROUP = 1034
ORCHESTRATOR = [sys.executable, "-m", "services.orchestrator.cli.main"]
LABELS = [(picture.sha256, "how many things are there?", "7") for picture in PICTURES]


def add_key(file, *roles):
    """A new key, as `mpa-orch keys add` prints it."""
    options = [word for role in roles for word in ("--role", role)]
    command = [*ORCHESTRATOR, "keys", "add", "test", *options, "--file", file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def objects():
    require_isolation()
    return rendered(KUBERNETES / "base")


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """A Secret as Kubernetes mounts it, root's and readable by the group of the pod, and a key."""
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o755)
    key = add_key(secret / "keys.json", "ask", "read", "train", "operate")
    monkeypatch.setenv("MPA_KEY", key)
    os.chown(secret / "keys.json", 0, GROUP)
    (secret / "keys.json").chmod(0o440)
    return {"mpa-keys": secret}


async def ask(service, path, fields, **headers):
    """Over HTTP, at an address that only a service on 0.0.0.0 has: other machines reach it."""
    url = f"http://127.0.0.2:{service.http_port}/v1/{path}"
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(url, files={"image": IMAGES[0]}, data=fields, headers=headers)


def require_no_write_was_refused(service):
    log = service.log.read_text()
    assert "Read-only file system" not in log
    assert "Permission denied" not in log


async def test_the_owners_pod_serves_trains_and_swaps(tmp_path, objects, keys):
    pod = objects["StatefulSet", "mpa-student"]["spec"]["template"]["spec"]
    _, bento = build_bento(tmp_path, "--arg", "device=cpu")
    with container("student", pod, objects, bento, tmp_path, keys) as service:
        async with StudentClient(service.address) as student:
            version = await train(student, LABELS)
            await student.promote(version, expected_live="v1")
        question = {"question": LABELS[0][1]}
        refused = await ask(service, "vqa", question)
        assert refused.status_code == 401
        reply = await ask(service, "vqa", question, authorization=f"Bearer {os.environ['MPA_KEY']}")
        assert reply.json()["version"] == version
    require_no_write_was_refused(service)


async def test_the_teachers_pod_annotates(tmp_path, objects, keys):
    pod = objects["Deployment", "mpa-teacher"]["spec"]["template"]["spec"]
    _, bento = build_bento(tmp_path, "-f", "services/teacher/bentofile.yaml")
    with container("teacher", pod, objects, bento, tmp_path, keys) as service:
        key = f"Bearer {os.environ['MPA_KEY']}"
        reply = await ask(service, "annotate", {"task": "vqa"}, authorization=key)
        assert reply.status_code == 200, reply.text
    require_no_write_was_refused(service)
