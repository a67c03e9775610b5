import subprocess
import sys

import pytest

from mics.image.available import available_host_bytes

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


@pytest.mark.parametrize("where", ["", "batch", "batch/job"])
def test_limits_of_older_systems_count_too(machine, where):
    proc, cgroups = machine
    (proc / "self" / "cgroup").write_text("12:cpu,cpuacct:/other\n7:memory:/batch/job\n0::/\n")
    group = cgroups / "memory" / where
    (cgroups / "memory" / "batch" / "job").mkdir(parents=True)
    (cgroups / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # none, as version 1 says it
    (cgroups / "memory" / "memory.usage_in_bytes").write_text("9000000000\n")
    (cgroups / "memory" / "memory.stat").write_text("")
    (group / "memory.limit_in_bytes").write_text("6000000000\n")
    (group / "memory.usage_in_bytes").write_text("5000000000\n")
    (group / "memory.stat").write_text("inactive_file 7\ntotal_inactive_file 3000000000\n")
    assert available_host_bytes(proc, cgroups) == 4 * GB


def test_a_limit_on_the_process_itself_counts_less_what_it_has(tmp_path):
    # as `ulimit -v` sets it
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9,) * 2)\n"
        "from mics.image.available import available_host_bytes; print(available_host_bytes())\n"
        "held = bytearray(10**9); print(available_host_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (float(line) for line in done.stdout.split())
    assert 2 * GB < before < 3 * GB
    assert before - after == pytest.approx(1 * GB, rel=0.02)


def test_elsewhere_than_on_linux_it_is_all_the_memory_or_unknown(tmp_path):
    found = available_host_bytes(tmp_path / "no-proc", tmp_path)
    assert found is None or found > 1e8


def test_on_this_machine_it_is_plausible():
    found = available_host_bytes()
    assert found is None or 1e7 < found < 1e14
