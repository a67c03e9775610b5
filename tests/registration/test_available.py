import pytest

from mics.registration.available import available_host_bytes

GB = 1e9


@pytest.fixture
def machine(tmp_path):
    """A made-up /proc and /sys/fs/cgroup: 16 GB free, the process in the group batch/job."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "batch" / "job").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       32000000 kB\nMemFree: 1 kB\nMemAvailable:   15625000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/batch/job\n")
    return proc, cgroups


def limit(folder, most, used, cached=0.0):
    (folder / "memory.max").write_text(f"{most if most == 'max' else int(most)}\n")
    (folder / "memory.current").write_text(f"{int(used)}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {int(cached)}\n")


def test_without_a_limit_it_is_what_linux_calls_available(machine):
    limit(machine[1] / "batch" / "job", "max", 3 * GB)
    assert available_host_bytes(*machine) == 16 * GB


@pytest.mark.parametrize("where", ["batch", "batch/job"])
def test_a_batch_systems_limit_counts_wherever_it_is_set_less_what_is_cached(machine, where):
    limit(machine[1] / where, 8 * GB, 5 * GB, cached=2 * GB)
    assert available_host_bytes(*machine) == 5 * GB


def test_a_limit_above_what_is_free_changes_nothing(machine):
    limit(machine[1] / "batch", 100 * GB, 0)
    assert available_host_bytes(*machine) == 16 * GB


def test_elsewhere_than_on_linux_it_is_all_the_memory_or_unknown(tmp_path):
    found = available_host_bytes(tmp_path / "no-proc", tmp_path)
    assert found is None or found > 1e8


def test_on_this_machine_it_is_plausible():
    found = available_host_bytes()
    assert found is None or 1e7 < found < 1e14
