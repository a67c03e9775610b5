"""How much memory this machine, or the batch system's share of it, has left, and how much was taken."""

import os
import sys
from pathlib import Path

from mics.errors import InputError

# Of addresses, which torch and SimpleITK need to be loaded; with less they fail in many ways, or never end.
_LIBRARIES_BYTES = 1.25e9
# Names of a cgroup's limit, of what it uses, and of what its memory.stat calls files that can be dropped.
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available_host_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """Main memory that this process can still take: what Linux calls available, or less under a cgroup's or ulimit's limit.

    Elsewhere than on Linux all of the machine's memory; None where not even that is known.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        try:
            return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    return min([free, *_left_under_limits(proc, cgroups), *_left_of_addresses(proc)])


def refuse_small_limit() -> None:
    """Raise InputError where a limit on the process's addresses is too small for the libraries to be loaded."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LIBRARIES_BYTES:
        raise InputError(
            f"This process may take {limit / 1e9:.2g} GB of addresses (ulimit -v), and loading torch and SimpleITK alone takes "
            f"{_LIBRARIES_BYTES / 1e9:g} GB: set a larger limit, of 8 GB or more for registrations."
        )


def resident_peak_gb(*, children: bool = False) -> float | None:
    """Largest resident memory of this process since it began, in GB; None on Windows.

    With ``children`` also of the programs that it has run, whichever of them is larger.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    whose = [resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if children else [])]
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(who).ru_maxrss for who in whose) * unit / 1e9


def _left_of_addresses(proc: Path) -> list[float]:
    """What a limit on the process's own addresses leaves (`ulimit -v`, batch systems without cgroups)."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    try:
        pages = int((proc / "self" / "statm").read_text().split()[0])
    except OSError:
        return [float(limit)]
    return [float(limit - pages * resource.getpagesize())]


def _left_under_limits(proc: Path, cgroups: Path) -> list[float]:
    """What each limit above this process leaves (cgroups of both versions: Docker, Slurm, systemd)."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        number, controllers, own = line.split(":", 2)
        if number == "0":
            left += _left_above(cgroups, own, _VERSION_2)
        elif "memory" in controllers.split(","):
            left += _left_above(cgroups / "memory", own, _VERSION_1)
    return left


def _left_above(root: Path, own: str, names: tuple[str, str, str]) -> list[float]:
    """What the limits of a group and of those around it leave."""
    limit_name, used_name, cached_name = names
    left, group = [], root / own.strip("/")
    while True:
        try:
            limit, used = ((group / name).read_text().strip() for name in (limit_name, used_name))
            if limit != "max":
                left.append(float(limit) - float(used) + _file_cache(group, cached_name))
        except OSError:
            pass
        if group == root or group == group.parent:
            return left
        group = group.parent


def _file_cache(group: Path, name: str) -> float:
    """Bytes of files that the kernel keeps as long as nothing else needs the memory."""
    lines = (group / "memory.stat").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
