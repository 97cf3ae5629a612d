"""A container without a container engine: a pod of deploy/kubernetes, run from a built bento.

Linux gives the parts: a mount namespace with the machine's files read-only, a namespace of
processes, the pod's user without capabilities. Only the folders that the pod mounts can be written.
The network is the machine's, so ports are settings.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import psutil

from services.orchestrator.endpoints.processes import free_ports
from tests.e2e.processes import ServiceProcess
from tests.manifests import variables
from tests.tools import missing

TOOLS = ("unshare", "setpriv", "chroot", "mount")
ISOLATE = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 root "$NEW_ROOT"
for folder in /bin /dev /etc /lib /lib64 /opt /sbin /sys /usr; do
    if [ -L "$folder" ]; then
        cp -P "$folder" "$NEW_ROOT$folder"
    elif [ -d "$folder" ]; then
        mkdir "$NEW_ROOT$folder"
        mount --bind "$folder" "$NEW_ROOT$folder"
        mount -o remount,bind,ro "$NEW_ROOT$folder"
    fi
done
mkdir "$NEW_ROOT/proc"
mount -t proc proc "$NEW_ROOT/proc"
for folder in $WRITABLE; do
    mkdir -p "$NEW_ROOT$folder"
    mount -t tmpfs -o "mode=2770,gid=$GROUP" volume "$NEW_ROOT$folder"
done
for pair in $READ_ONLY; do
    mkdir -p "$NEW_ROOT${pair#*:}"
    mount --bind "${pair%%:*}" "$NEW_ROOT${pair#*:}"
    mount -o remount,bind,ro "$NEW_ROOT${pair#*:}"
done
mount -o remount,ro "$NEW_ROOT"
exec chroot "$NEW_ROOT" "$@"
"""
"""The arguments become process 1."""


def require_isolation():
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        missing(f"no container without root and {', '.join(TOOLS)}")


@contextmanager
def container(role, pod, objects, bento, folder, secrets):
    """Runs the container of a service's pod as Kubernetes would, with other ports.

    `bento`: folder of the bento; `secrets`: folder of each Secret, by its name. The address of the
    service is the one for mpa-orch.
    """
    (described,) = pod["containers"]
    security = {**pod["securityContext"], **described["securityContext"]}
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    user, group = security["runAsUser"], security["runAsGroup"]
    as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={group}"]
    as_user += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    http_port, grpc_port, control_port = free_ports(3)
    inside = {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "BENTO_PATH": "/bento",
        "BENTOML_CONTAINERIZED": "true",
        "BENTOML_PORT": str(http_port),
        "OMP_NUM_THREADS": "1",
        **variables(described, objects),
    }
    prefix = f"MPA_{role.upper()}_"
    inside |= {f"{prefix}GRPC_PORT": str(grpc_port), f"{prefix}LAME_DUCK_S": "1"}
    if f"{prefix}CONTROL_PORT" in inside:
        inside[f"{prefix}CONTROL_PORT"] = str(control_port)
        grpc_port = control_port
    command = ["env", "--ignore-environment", *(f"{name}={inside[name]}" for name in inside)]
    command += ["bash", "/bento/env/docker/entrypoint.sh", *described["args"]]
    subprocess.run(["chmod", "--recursive", "a+rX", bento], check=True)
    new_root = folder / "root"
    new_root.mkdir()
    outside = {
        "PATH": os.environ["PATH"],
        "NEW_ROOT": str(new_root),
        "GROUP": str(group),
        **_mounts(pod, described, {"/bento": bento}, secrets),
    }
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ISOLATE, "sh"]
    log = folder / "container.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*isolated, *as_user, *command], env=outside, stdout=output, stderr=output
        )
    service = ServiceProcess(process, http_port, grpc_port, log)
    try:
        yield service.wait_until_ready()
        psutil.Process(process.pid).children()[0].send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def _mounts(pod, described, given, secrets):
    """Folders of the pod: those that it may write, and those that come from outside."""
    of_secrets = {each["name"]: each.get("secret") for each in pod["volumes"]}
    writable, read_only = [], dict(given)
    for mount in described["volumeMounts"]:
        secret = of_secrets[mount["name"]]
        if secret:
            read_only[mount["mountPath"]] = secrets[secret["secretName"]]
        else:
            writable.append(mount["mountPath"])
    # The Python of the tests; that of the system is in /usr.
    read_only |= {one: one for one in (sys.prefix, sys.base_prefix) if not one.startswith("/usr")}
    pairs = (f"{source}:{target}" for target, source in read_only.items())
    return {"WRITABLE": " ".join(writable), "READ_ONLY": " ".join(pairs)}
