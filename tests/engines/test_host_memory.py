"""Memory of a machine, its containers' limits and the kernel's kills, from files of both kinds."""

import pytest

from services.engines.host_memory import count_kills, machine_memory

GIB = 2**30
V2 = "0::/pod/worker"
V1 = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/"


@pytest.fixture
def machine(tmp_path):
    """Root of a machine of 64 GiB, 48 of them available, and a function that adds files."""

    def add(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    add("proc/meminfo", f"MemTotal: {64 * 2**20} kB\nMemAvailable: {48 * 2**20} kB\nHugePages: 0")
    return tmp_path, add


def test_this_machine_has_memory():
    available, total = machine_memory()
    assert 0 < available < total
    assert count_kills() >= 0


def test_without_groups_all_memory_counts(machine):
    root, _ = machine
    assert machine_memory(root) == (48 * GIB, 64 * GIB)
    assert count_kills(root) == 0


def test_the_limit_of_a_group_above_counts_and_cached_files_are_free(machine):
    root, add = machine
    add("proc/self/cgroup", V2)
    for folder, limit in {"pod": 32 * GIB, "pod/worker": "max"}.items():
        add(f"sys/fs/cgroup/{folder}/memory.max", limit)
        add(f"sys/fs/cgroup/{folder}/memory.current", 12 * GIB)
        cached = f"anon {2 * GIB}\ninactive_file {7 * GIB}\nactive_file {GIB}"
        add(f"sys/fs/cgroup/{folder}/memory.stat", cached)
    assert machine_memory(root) == (28 * GIB, 32 * GIB)


def test_a_container_that_sees_its_own_group_as_the_root_has_its_limit(machine):
    root, add = machine
    add("proc/self/cgroup", V1)
    add("sys/fs/cgroup/memory/memory.limit_in_bytes", 16 * GIB)
    add("sys/fs/cgroup/memory/memory.usage_in_bytes", 20 * GIB)
    add("sys/fs/cgroup/memory/memory.stat", f"cache 0\ntotal_inactive_file {GIB}")
    assert machine_memory(root) == (0, 16 * GIB)


def test_a_group_without_a_limit_changes_nothing(machine):
    root, add = machine
    add("proc/self/cgroup", V1)
    add("sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes", 2**63 - 4096)
    add("sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes", GIB)
    assert machine_memory(root) == (48 * GIB, 64 * GIB)


def test_kills_for_lack_of_memory_are_counted(machine):
    root, add = machine
    add("proc/vmstat", "pgfault 12\noom_kill 3")
    assert count_kills(root) == 3
