"""deploy/compose: true to the services, and closed."""

from pathlib import Path

import pytest
import yaml

from services.rpc.lifecycle import HARD_STOP_AFTER_S
from tests.manifests import settings
from tests.test_kubernetes import MARGIN_S, WRITTEN

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
ONCE = {"folders"}
"""Services that end before the others begin."""


def variables(described):
    """Environment of a service, with the defaults of the variables that the shell may set."""
    lines = (FOLDER / described["env_file"]).read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    for name, value in described["environment"].items():
        text = str(value)
        given[name] = text.partition(":-")[2].rstrip("}") if text.startswith("${") else text
    return given


def mounts(described):
    """Sources of what is mounted, by folder in the container."""
    return dict(
        reversed(each.removesuffix(":ro").split(":", 1)) for each in described.get("volumes", ())
    )


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_settings_times_and_folders_are_the_services_own(role):
    described = SERVICES[role]
    given = variables(described)
    listen = settings(role, given).rpc.listen
    published = {int(each.rpartition(":")[2]) for each in described["ports"]}
    assert published <= {listen.port, listen.control_port}
    stop_s = int(described["stop_grace_period"].removesuffix("s"))
    assert stop_s >= listen.lame_duck_s + listen.grace_s + HARD_STOP_AFTER_S + MARGIN_S
    written = {given[name] for name in WRITTEN if name in given}
    temporary = {each.partition(":")[0] for each in described["tmpfs"]}
    assert written | {"/tmp"} <= mounts(described).keys() | temporary
    owned = {
        mounts(SERVICES["folders"])[folder] for folder in SERVICES["folders"]["entrypoint"][2:]
    }
    volumes = COMPOSE["volumes"].keys() & mounts(described).values()
    assert volumes <= owned


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_are_closed(name):
    described = SERVICES[name]
    assert described["read_only"] and described["cap_drop"] == ["ALL"]
    assert name in ONCE or described["user"].split(":")[0] not in ("0", "root")
    assert "privileged" not in described
    for port in described.get("ports", ()):
        assert port.startswith("127.0.0.1:") or ":-127.0.0.1:" in port, port


def test_every_file_that_is_mounted_is_there():
    secrets = {each["file"] for each in COMPOSE["secrets"].values()}
    named = {
        source
        for described in SERVICES.values()
        for source in mounts(described).values()
        if source.startswith(".")
    }
    made = {each for each in named | secrets if each.startswith("./secrets/")}
    assert secrets <= made
    missing = {each for each in named - made if not (FOLDER / each).is_file()}
    assert missing == set()


def test_prometheus_scrapes_the_services_with_the_key_that_it_is_given():
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    targets = [each["static_configs"][0]["targets"] for each in scraped]
    assert targets == [["teacher:3000"], ["student:3000"]]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert {each["authorization"]["credentials_file"] for each in scraped} == {secret["target"]}
