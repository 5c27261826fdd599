"""Memory of this machine and of a process, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE = 512 << 20
"""Bytes left to everything else, at least."""
RESERVE_SHARE = 0.1
"""Share of what is free that is left, where that is more."""
LEAST = 2 << 30
"""TensorFlow's import and a small model: less is never asked of it."""
UNTOLD = 0


def resident(pid: int) -> int:
    """Bytes of a process in memory, from the second number of /proc/PID/statm; 0 where it is gone or not told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes a child may take: what is free now, by the machine and by its control group, less a reserve.

    0 (no limit) where the system does not tell.
    """
    free = [value for value in (_machine(proc), _group(cgroup)) if value is not None]
    if not free:
        return UNTOLD
    left = min(free)
    return max(LEAST, left - max(RESERVE, int(left * RESERVE_SHARE)))


def _machine(proc: Path) -> int | None:
    """MemAvailable of /proc/meminfo."""
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


def _group(cgroup: Path) -> int | None:
    """What is left below the limit of a version 2 control group, where there is one."""
    try:
        most, used = (cgroup / "memory.max").read_text().strip(), int((cgroup / "memory.current").read_text())
        return None if most == "max" else max(0, int(most) - used)
    except (OSError, ValueError):
        return None


def size(count: int) -> str:
    """`3.5 GB`, `512 MB`: bytes by powers of 1024."""
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"
