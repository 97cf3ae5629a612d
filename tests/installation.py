"""An installation by `pip install .` or an extra, in its own environment, without a network.

pip builds the package and installs the wheel. The distributions that it requires are linked from
the environment of the tests, by their metadata; `pip check` confirms that none is missing.
"""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "model-parity-aligner"
SOURCES = ("services", "protos", "zoo", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Installation:
    """`distributions`: canonical names, without the package itself."""

    folder: Path
    distributions: frozenset[str]

    def run(self, program, *arguments, cwd, **variables):
        """A program of its bin folder. Nothing of the tests' environment can be imported."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=cwd,
            env=inherited | variables,
            capture_output=True,
            text=True,
        )


def install(wheel: Path, home: Path, extra: str = "") -> Installation:
    venv.create(home, symlinks=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    _pip("--python", home, "install", "--no-index", "--no-deps", wheel)
    (package,) = Distribution.discover(name=PACKAGE, path=[str(packages)])
    required = _required(package, extra)
    for one in required.values():
        _link(one, packages)
    _pip("--python", home, "check")
    return Installation(home, frozenset(required))


def _pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def copy_source(folder: Path) -> Path:
    """Copy the package's source to `folder`: a build writes into its source."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build_wheel(folder: Path) -> Path:
    source = copy_source(folder / "source")
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    _pip("wheel", *options, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _required(package: Distribution, extra: str) -> dict[str, Distribution]:
    """Everything that it requires, directly or in turn, with `extra` or none, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    open_ends = [(package, ""), (package, extra)]
    while open_ends:
        one, of_extra = open_ends.pop()
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker and not requirement.marker.evaluate({"extra": of_extra}):
                continue
            name = canonicalize_name(requirement.name)
            found.setdefault(name, distribution(name))
            for wanted in {(name, ""), *((name, wanted) for wanted in requirement.extras)} - seen:
                seen.add(wanted)
                open_ends.append((found[name], wanted[1]))
    return found


def _link(one: Distribution, packages: Path) -> None:
    for file in set(one.files or ()):
        if ".." not in file.parts:
            link = packages / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(str(one.locate_file(file)))
