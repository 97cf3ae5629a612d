"""`pytest --quick`: the tests of twenty seconds, chosen by rule.

Every run records how long the fast tests of each module took, in pytest's cache. A quick run first
takes the modules that mirror the files changed since the last commit, then all others; of both, the
shortest first, until every process has SECONDS to do. The very first run, which knows the times of
less than half of the modules, runs every fast test.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path

SECONDS = 20.0
GUESS_S = 5.0
"""Assumed duration of a module that has not run yet."""
RECORD = "mpa/seconds"
ROOT = Path(__file__).parents[1]
WHOLLY_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow$", re.MULTILINE)


def choose(seconds, changed, most_s):
    """Modules that together take `most_s` at most. `seconds`: of each module; `changed`: paths."""
    first = {module for path in changed for module in _mirror(path, seconds)}
    chosen, total_s = [], 0.0
    for module in sorted(seconds, key=lambda name: (name not in first, seconds[name], name)):
        if total_s + seconds[module] <= most_s:
            chosen.append(module)
            total_s += seconds[module]
    return chosen


def _mirror(path, modules):
    """The module itself, or those in the innermost folder of tests that mirrors a folder of it."""
    rooms = [f"tests/{Path(*folder.parts[1:])}/" for folder in Path(path).parents if folder.parts]
    for place in (path, *rooms[:-1]) if path.startswith("services/") else (path,):
        if found := [module for module in modules if module.startswith(place)]:
            return found
    return []


def changed_files():
    """Since the last commit, new files included."""
    asked = ["git", "status", "--porcelain", "--no-renames", "--untracked-files=all"]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout
    return [line[3:] for line in answer.splitlines()]


def fast_modules():
    """Test modules with tests that aren't slow."""
    paths = ROOT.glob("tests/**/test_*.py")
    fast = [path for path in paths if not WHOLLY_SLOW.search(path.read_text())]
    return [path.relative_to(ROOT).as_posix() for path in fast]


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="Run the tests of twenty seconds.")


def pytest_configure(config):
    if hasattr(config, "cache"):
        config.pluginmanager.register(Times(config), "times")
        if config.getoption("--quick"):
            config.pluginmanager.register(Quick(config), "quick")


class Times:
    """Records how long the fast tests of each module take."""

    def __init__(self, config):
        self._config = config
        self._seconds = Counter()

    def pytest_runtest_logreport(self, report):
        if "slow" not in report.keywords:
            self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self):
        if not hasattr(self._config, "workerinput"):
            known = self._config.cache.get(RECORD, {})
            self._config.cache.set(RECORD, {**known, **self._seconds})


class Quick:
    """Passes over the modules that are not chosen before they are imported."""

    def __init__(self, config):
        known = config.cache.get(RECORD, {})
        processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
        seconds = {module: known.get(module, GUESS_S) for module in fast_modules()}
        is_first = 2 * len(seconds.keys() & known.keys()) < len(seconds)
        most_s = float("inf") if is_first else SECONDS * processes
        self._chosen = {ROOT / module for module in choose(seconds, changed_files(), most_s)}

    def pytest_ignore_collect(self, collection_path):
        is_test = collection_path.name.startswith("test_")
        return True if is_test and collection_path not in self._chosen else None

    def pytest_collection_modifyitems(self, config, items):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
