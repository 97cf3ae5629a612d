"""deploy/kubernetes: valid for a cluster, and true to the services."""

from typing import Any

import kubernetes_validate
import pytest
import typer

from services.orchestrator.cli.main import app
from services.rpc.http.gate import OBSERVED
from services.rpc.lifecycle import HARD_STOP_AFTER_S
from tests.manifests import KUBERNETES, rendered, settings, variables

VERSIONS = ("1.30", "1.37")
KINDS = ("Deployment", "StatefulSet", "Job")
WRITTEN = ("HOME", "HF_HOME", "BENTOML_HOME", "MPA_STUDENT_STORE", "TMPDIR")
"""Variables that name a folder in which a service writes; TMPDIR is /tmp by default."""
ROLES = {"mpa-teacher": "teacher", "mpa-student": "student", "mpa-student-follower": "student"}
MARGIN_S = 5.0


@pytest.fixture(scope="module", params=["on CPUs", "on GPUs with TLS"])
def objects(request, tmp_path_factory):
    if request.param == "on CPUs":
        return rendered(KUBERNETES / "base")
    folder = tmp_path_factory.mktemp("kubernetes")
    for name in ("base", "gpu", "tls"):
        (folder / name).symlink_to(KUBERNETES / name)
    (folder / "own").mkdir()
    text = "resources: [../gpu]\ncomponents: [../tls]\n"
    (folder / "own" / "kustomization.yaml").write_text(text)
    return rendered(folder / "own")


def pods(objects):
    """Name, pod and container of each workload."""
    for (kind, name), each in objects.items():
        if kind in KINDS:
            pod = each["spec"]["template"]["spec"]
            (described,) = pod["containers"]
            yield name, pod, described


def valid(objects):
    for version in VERSIONS:
        for each in objects.values():
            kubernetes_validate.validate(each, version, strict=True)


def restricted(pod, described):
    """The rules of the Pod Security Standard "restricted", and a read-only root."""
    security, own = pod["securityContext"], described["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] == 1034
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"secret", "emptyDir", "persistentVolumeClaim"}
    assert not pod["automountServiceAccountToken"] and not pod["enableServiceLinks"]
    assert "memory" in described["resources"]["limits"]


def test_the_cluster_takes_it(objects):
    valid(objects)
    for _, pod, described in pods(objects):
        restricted(pod, described)


def test_settings_ports_and_times_are_the_services_own(objects):
    for name, pod, described in pods(objects):
        made = settings(ROLES[name], variables(described, objects)).rpc.listen
        ports = {each["name"]: each["containerPort"] for each in described["ports"]}
        wanted = {"http": 3000, "grpc": made.port, "control": made.control_port}
        assert ports == {port: number for port, number in wanted.items() if number}
        probes = [described[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness")]
        assert {probe["path"] for probe in probes} == {"/readyz"} < set(OBSERVED)
        assert described["livenessProbe"]["httpGet"]["path"] == "/livez" in OBSERVED
        least_s = made.lame_duck_s + made.grace_s + HARD_STOP_AFTER_S + MARGIN_S
        assert pod["terminationGracePeriodSeconds"] >= least_s


def test_every_folder_that_is_written_is_a_volume(objects):
    for _, pod, described in pods(objects):
        secrets = {each["name"] for each in pod["volumes"] if "secret" in each}
        mounted = {each["mountPath"]: each for each in described["volumeMounts"]}
        given = {"TMPDIR": "/tmp", **variables(described, objects)}
        for folder in filter(None, map(given.get, WRITTEN)):
            assert not mounted[folder].get("readOnly"), folder
        for each in mounted.values():
            assert bool(each.get("readOnly")) == (each["name"] in secrets)


def test_followers_follow_and_there_is_one_owner(objects):
    made = {
        name: settings(ROLES[name], variables(described, objects))
        for name, _, described in pods(objects)
    }
    assert not made["mpa-student"].follows and made["mpa-student-follower"].follows
    assert made["mpa-student"].store == made["mpa-student-follower"].store
    assert objects["StatefulSet", "mpa-student"]["spec"]["replicas"] == 1
    claims = [
        {volume["name"]: volume for volume in pod["volumes"]}["store"]["persistentVolumeClaim"]
        for name, pod, _ in pods(objects)
        if name != "mpa-teacher"
    ]
    assert claims == [{"claimName": "mpa-store"}] * 2
    store = objects["PersistentVolumeClaim", "mpa-store"]["spec"]
    assert store["accessModes"] == ["ReadWriteMany"]


def test_services_budgets_and_policies_select_pods_and_their_ports(objects):
    workloads = [
        each for (kind, _), each in objects.items() if kind in ("Deployment", "StatefulSet")
    ]

    def chosen(selector):
        found = [each["spec"]["template"] for each in workloads]
        return [
            pod for pod in found if selector.items() <= pod["metadata"].get("labels", {}).items()
        ]

    for (kind, name), each in objects.items():
        if kind == "Service":
            found, ports = chosen(each["spec"]["selector"]), each["spec"]["ports"]
            wanted = {port["targetPort"] for port in ports}
        elif kind == "PodDisruptionBudget":
            found, wanted = chosen(each["spec"]["selector"]["matchLabels"]), set()
        elif kind == "NetworkPolicy" and "ingress" in each["spec"]:
            found = chosen(each["spec"]["podSelector"]["matchLabels"])
            rules = each["spec"]["ingress"]
            wanted = {port["port"] for rule in rules for port in rule["ports"]}
        else:
            continue
        assert found, (kind, name)
        for pod in found:
            (described,) = pod["spec"]["containers"]
            assert wanted <= {port["name"] for port in described["ports"]}, (kind, name)


def test_only_runs_reach_the_control_port(objects):
    everyone = objects["NetworkPolicy", "nothing-else"]["spec"]
    assert everyone == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    rules = objects["NetworkPolicy", "student"]["spec"]["ingress"]
    sources = [
        rule["from"] for rule in rules if "control" in {port["port"] for port in rule["ports"]}
    ]
    runs = {"kubernetes.io/metadata.name": "mpa-runs"}
    assert sources == [[{"namespaceSelector": {"matchLabels": runs}}]]


def test_the_job_is_a_command_and_reaches_the_services(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job, services = rendered(KUBERNETES / "align"), rendered(KUBERNETES / "base")
    valid(job)
    ((_, pod, described),) = pods(job)
    restricted(pod, described)
    name, *arguments = described["args"]
    group: Any = typer.main.get_command(app)
    given = group.commands[name].make_context(name, arguments).params
    (teacher,), student = given["teacher"], given["student"]
    for address in (teacher, student):
        host, port = address.split(":")
        service, namespace = host.split(".")[:2]
        found = services["Service", service]
        assert found["metadata"]["namespace"] == namespace
        assert int(port) in {each["port"] for each in found["spec"]["ports"]}
    rules = job["NetworkPolicy", "run"]["spec"]["egress"][0]["ports"]
    assert {str(rule["port"]) for rule in rules} == {teacher[-5:], student[-5:]}
    assert job["Namespace", "mpa-runs"]
