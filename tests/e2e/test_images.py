"""The images of docs/deploy.md, up to the Dockerfiles: no container engine is needed."""

import re
import shlex

import pytest
import yaml

from tests.e2e.processes import ROOT, build_bento
from tests.installation import SOURCES

pytestmark = pytest.mark.slow
COMMANDS = re.findall(
    r"^    bentoml build (.*) \. && bentoml containerize (\S+):latest -t (\S+)$",
    (ROOT / "docs" / "deploy.md").read_text(),
    re.MULTILINE,
)
ORCHESTRATOR = ROOT / "deploy" / "containers" / "orchestrator.Dockerfile"


def instructions(dockerfile):
    """Word and rest of each instruction, in order."""
    lines = dockerfile.replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if re.match(r"[A-Z]+ ", line)]


def given(found, word):
    return [rest for each, rest in found if each == word]


def test_four_images_are_documented():
    assert [tag for _, _, tag in COMMANDS] == [
        f"mpa-{role}:{device}" for device in ("cpu", "gpu") for role in ("teacher", "student")
    ]


@pytest.mark.parametrize(("options", "name", "tag"), COMMANDS, ids=[tag for *_, tag in COMMANDS])
def test_the_dockerfile_of_a_bento(tmp_path, options, name, tag):
    built, bento = build_bento(tmp_path, *shlex.split(options))
    assert built.startswith(f"{name}:") and tag.startswith(f"{name}:")
    found = instructions((bento / "env" / "docker" / "Dockerfile").read_text())
    words = [word for word, _ in found]
    assert given(found, "FROM") == ["python:3.11-slim AS base-container"]
    assert given(found, "USER") == ["bentoml"]
    assert "RUN" not in words[words.index("USER") :], "nothing is installed by the service's user"
    assert "BENTO_USER_UID=1034" in given(found, "ARG")
    assert "entrypoint.sh" in given(found, "ENTRYPOINT")[0]
    assert (bento / "env" / "docker" / "entrypoint.sh").is_file()
    role, device = re.fullmatch(r"mpa-(\w+):(\w+)", tag).groups()
    values, packages = given(found, "ARG"), (bento / "env/python/requirements.txt").read_text()
    assert ("UV_TORCH_BACKEND=cpu" in values) == (device == "cpu")
    assert (f"MPA_{role.upper()}_ENGINE=vllm" in values) == (device == "gpu")
    assert ("vllm>=" in packages) == (device == "gpu")
    described = yaml.safe_load((bento / "bento.yaml").read_text())["services"][0]["config"]
    assert described.get("resources") == ({"gpu": 1} if device == "gpu" else None)


def test_the_dockerfile_of_mpa_orch_has_all_that_its_wheel_needs():
    found = instructions(ORCHESTRATOR.read_text())
    assert given(found, "USER") == ["1034:1034"]
    words = [word for word, _ in found]
    assert "RUN" not in words[words.index("USER") :]
    copied = {name for rest in given(found, "COPY") for name in rest.split()[:-1]}
    # The tests of the package build the wheel from SOURCES alone, and install it.
    assert copied == {*SOURCES, "constraints.txt", "--from=wheel", "/wheel"}
