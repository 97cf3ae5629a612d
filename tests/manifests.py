"""deploy/kubernetes, as it is sent to a cluster, and the settings that deploy/ makes."""

import subprocess
from pathlib import Path

import yaml

from services.environment import Environment
from services.rpc.logs import LogSettings
from services.student.settings import StudentSettings
from services.teacher.settings import TeacherSettings
from tests.tools import program
from tests.variables import Variables

KUBERNETES = Path(__file__).resolve().parents[1] / "deploy" / "kubernetes"


def rendered(folder):
    """The objects of `kubectl apply -k`, by kind and name."""
    kubectl = program("kubectl", "its kustomize renders deploy/kubernetes")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects = yaml.safe_load_all(done.stdout)
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def variables(container, objects):
    """Environment variables of a container, those of its ConfigMaps included."""
    found = {}
    for source in container.get("envFrom", ()):
        found |= objects["ConfigMap", source["configMapRef"]["name"]]["data"]
    return found | {each["name"]: each["value"] for each in container.get("env", ())}


def settings(role, variables):
    """Settings of a service in that environment. Each variable of ours must be one."""
    read = Variables(**variables)
    made = TeacherSettings if role == "teacher" else StudentSettings
    settings = made.from_env(read)
    LogSettings.from_environment(Environment(f"MPA_{role.upper()}_", read))
    assert {name for name in variables if name.startswith("MPA_")} <= read.names
    return settings
