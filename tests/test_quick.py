"""The choice of `make quick`."""

from tests.quick import choose, fast_modules

SECONDS = {
    "tests/core/test_arms.py": 1.0,
    "tests/rpc/test_bulk.py": 9.0,
    "tests/rpc/http/test_form.py": 3.0,
    "tests/student/test_store.py": 4.0,
}


def test_the_shortest_modules_fill_the_time():
    assert choose(SECONDS, [], 8.5) == [
        "tests/core/test_arms.py",
        "tests/rpc/http/test_form.py",
        "tests/student/test_store.py",
    ]
    assert choose(SECONDS, [], 0.5) == []


def test_modules_that_mirror_a_change_come_first():
    assert choose(SECONDS, ["services/rpc/bulk.py"], 13)[:2] == [
        "tests/rpc/http/test_form.py",
        "tests/rpc/test_bulk.py",
    ]
    assert choose(SECONDS, ["services/rpc/http/form.py"], 3) == ["tests/rpc/http/test_form.py"]
    assert choose(SECONDS, ["services/rpc/client/replies.py"], 12)[1] == "tests/rpc/test_bulk.py"
    assert choose(SECONDS, ["tests/student/test_store.py"], 5)[0] == "tests/student/test_store.py"


def test_other_changes_put_nothing_first():
    for path in ("services/files.py", "services/new/room.py", "README.md"):
        assert choose(SECONDS, [path], 1) == ["tests/core/test_arms.py"]


def test_modules_whose_tests_are_all_slow_are_not_asked():
    modules = fast_modules()
    assert "tests/test_quick.py" in modules
    assert "tests/e2e/test_services.py" not in modules
