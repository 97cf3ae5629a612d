"""Service processes, started at their first attack and replaced after a successful one."""

from contextlib import ExitStack

import pytest

from tests.attacks.target import Target
from tests.e2e.processes import serving
from tests.serving import fake_checkpoint


class Targets:
    """One process for each kind of service, as long as it is healthy."""

    def __init__(self, folder):
        self._folder = folder
        self._targets = {}

    def get(self, kind, role, answers=True, key="", **settings):
        """`settings` as in `serving`; `key`: the bystander's."""
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
        target = Target(
            role, stack.enter_context(serving(role, folder, **settings)), answers, key=key
        )
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
