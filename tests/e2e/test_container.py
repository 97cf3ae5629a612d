"""The owner of deploy/kubernetes: not root, on a read-only root, with the folders of its pod."""

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
ORCHESTRATOR = [sys.executable, "-m", "services.orchestrator.cli.main"]
LABELS = [(picture.sha256, "how many things are there?", "7") for picture in PICTURES]


def add_key(file, *roles):
    """A new key, as `mpa-orch keys add` prints it."""
    options = [word for role in roles for word in ("--role", role)]
    command = [*ORCHESTRATOR, "keys", "add", "test", *options, "--file", file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_the_owners_pod_serves_trains_and_swaps(tmp_path, monkeypatch):
    require_isolation()
    objects = rendered(KUBERNETES / "base")
    pod = objects["StatefulSet", "mpa-student"]["spec"]["template"]["spec"]
    _, bento = build_bento(tmp_path, "--arg", "device=cpu")
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o755)
    key = add_key(secret / "keys.json", "ask", "read", "train", "operate")
    monkeypatch.setenv("MPA_KEY", key)
    # As Kubernetes mounts a Secret: root's, readable by the group of the pod.
    os.chown(secret / "keys.json", 0, pod["securityContext"]["fsGroup"])
    (secret / "keys.json").chmod(0o440)
    settings = {"MPA_STUDENT_LAME_DUCK_S": "1"}
    with container(pod, objects, bento, tmp_path, {"mpa-keys": secret}, **settings) as (
        service,
        control,
    ):
        async with StudentClient(control) as student:
            version = await train(student, LABELS)
            await student.promote(version, expected_live="v1")
        # An address that only a service on 0.0.0.0 has: others than the machine itself reach it.
        url = f"http://127.0.0.2:{service.http_port}/v1/vqa"
        async with httpx.AsyncClient(timeout=60) as http:

            async def ask(**headers):
                question = {"question": LABELS[0][1]}
                return await http.post(
                    url, files={"image": IMAGES[0]}, data=question, headers=headers
                )

            refused, reply = await ask(), await ask(authorization=f"Bearer {key}")
        assert refused.status_code == 401
        assert reply.json()["version"] == version
    log = service.log.read_text()
    assert "Read-only file system" not in log
    assert "Permission denied" not in log
