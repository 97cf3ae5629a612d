"""Service processes, started at their first attack and replaced after a successful one."""

from contextlib import ExitStack

import pytest

from services.orchestrator.endpoints.processes import free_ports
from services.rpc.access.keys import KeyLimits
from tests.attacks.target import Identity, Target
from tests.e2e.processes import serving
from tests.rpc.access.authority import Authority
from tests.rpc.access.keyring import one_key_for_each_role
from tests.serving import fake_checkpoint


class Targets:
    """One process for each kind of service, as long as it is healthy."""

    def __init__(self, folder):
        self._folder = folder
        self._targets = {}

    def get(self, kind, role, answers=True, key="", identity=None, **settings):
        """`settings` as in `serving`; `key` and `identity`: the bystander's."""
        if kind in self._targets:
            target, stack = self._targets[kind]
            if not target.is_wounded:
                return target
            self._end(kind)
        folder = self._folder / f"{kind}-{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        stack = ExitStack()
        if role == "student":
            settings = {"store": folder / "store", **settings}
        ready = identity is None
        service = stack.enter_context(serving(role, folder, wait=ready, **settings))
        if not ready:  # /readyz needs the authority
            service.wait_until_logged(f"{role}: ready")
        target = Target(role, service, answers, key=key, identity=identity)
        self._targets[kind] = target, stack
        return target

    def _end(self, kind):
        target, stack = self._targets.pop(kind)
        if target.is_wounded:
            target.kill()
        stack.close()

    def end(self):
        for kind in list(self._targets):
            self._end(kind)


@pytest.fixture(scope="package")
def targets(tmp_path_factory):
    targets = Targets(tmp_path_factory.mktemp("targets"))
    yield targets
    targets.end()


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    """A fake model that knows every answer."""
    return fake_checkpoint(tmp_path_factory.mktemp("model"), skill=1.0)


@pytest.fixture(scope="package")
def image_root(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def student(targets, model, image_root):
    return targets.get("student", "student", model=model, image_root=image_root)


@pytest.fixture
def teacher(targets, model, image_root):
    return targets.get("teacher", "teacher", model=model, image_root=image_root)


@pytest.fixture
def impatient(targets, model):
    """A student with a short grace."""
    return targets.get("impatient", "student", model=model, http_headers_s=3, http_body_s=4)


@pytest.fixture(scope="package")
def keys(tmp_path_factory):
    """Keys by role, some that are not valid, and some with limits."""
    keys = one_key_for_each_role(tmp_path_factory.mktemp("keys"))
    keys.add("bystander", "ask")
    keys.add("expired", "ask", "operate", "train", "read", lifetime_s=1e-6)
    keys.add("revoked", "ask", "operate", "train", "read")
    keys.revoke("revoked")
    keys.add("few", "ask", limits=KeyLimits(requests_per_minute=20))
    keys.add("narrow", "ask", limits=KeyLimits(concurrent=2))
    keys.add("light", "ask", limits=KeyLimits(bytes_per_minute=4_000, pixels_per_minute=10**6))
    keys.add("small", "train", "read", limits=KeyLimits(storage_bytes=4 * 2**20))
    keys.add("rare", "train", limits=KeyLimits(trainings_per_day=2))
    return keys


@pytest.fixture
def guarded(targets, model, keys):
    """A student with keys."""
    return targets.get(
        "guarded", "student", model=model, keys=keys.path, key=keys.tokens["bystander"]
    )


@pytest.fixture(scope="package")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def sealed(targets, model, keys, authority):
    """A student with keys, TLS, client certificates and a port for control calls.

    A handshake has three seconds.
    """
    certificate, key = authority.issue("service")
    return targets.get(
        "sealed",
        "student",
        key=keys.tokens["bystander"],
        identity=Identity(authority.path, *authority.issue("bystander")),
        model=model,
        keys=keys.path,
        tls_cert=certificate,
        tls_key=key,
        tls_client_ca=authority.path,
        control_port=free_ports(1)[0],
        reflection=0,
        http_headers_s=3,
    )


@pytest.fixture
def slow_student(targets, tmp_path_factory):
    """A student that answers 20 questions a second, and refuses what would wait for 3 seconds."""
    model = fake_checkpoint(tmp_path_factory.mktemp("slow"), skill=1.0, latency_s=0.2)
    return targets.get("slow", "student", model=model, max_batch=4, longest_wait_s=3)


@pytest.fixture
def reader(targets, tiny_checkpoint):
    """A student with a real tokenizer, on transformers."""
    return targets.get(
        "reader", "student", answers=False, model=tiny_checkpoint, engine="transformers", threads=1
    )


@pytest.fixture
def reading_teacher(targets, tiny_checkpoint):
    return targets.get(
        "reading-teacher",
        "teacher",
        answers=False,
        model=tiny_checkpoint,
        engine="transformers",
        threads=1,
    )
