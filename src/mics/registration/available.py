"""How much memory this machine, or the batch system's share of it, has left, and how much was taken."""

import os
import sys
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available_host_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """Main memory that this process can still take: what Linux calls available, or less under a cgroup's limit.

    Elsewhere than on Linux all of the machine's memory; None where not even that is told.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        try:
            return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    return min([free, *_left_under_limits(proc, cgroups)])


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


def _left_under_limits(proc: Path, cgroups: Path) -> list[float]:
    """What each limit above this process leaves (cgroups, version 2: Docker, Slurm, systemd)."""
    try:
        own = next(line[3:] for line in (proc / "self" / "cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    left, group = [], cgroups / own.strip("/")
    while True:
        try:
            limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
            if limit != "max":
                left.append(float(limit) - float(used) + _file_cache(group))
        except OSError:
            pass
        if group == cgroups or group == group.parent:
            return left
        group = group.parent


def _file_cache(group: Path) -> float:
    """Bytes of files that the kernel keeps as long as nobody needs the memory."""
    lines = (group / "memory.stat").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("inactive_file "))
