"""Memory of this machine and of a process, as Linux tells it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

RESERVE = 512 << 20
"""Bytes left to everything else, at least."""
RESERVE_SHARE = 0.1
"""Share of what is free that is left, where that is more."""
LEAST = 2 << 30
"""TensorFlow's import and a small model: less is never asked of it."""
UNTOLD = 0
NO_LIMIT = 1 << 60
"""Version 1 tells a limit that is none as a number of about 2**63."""


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
    free = [value for value in (_machine(proc), *_groups(proc, cgroup)) if value is not None]
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


def _groups(proc: Path, cgroup: Path) -> Iterator[int | None]:
    """What is left in each control group this process is in, from its own up to the root: cgroup(7), both versions."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    seen = {(cgroup, "memory.max"), (cgroup / "memory", "memory.limit_in_bytes")}
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0":
            root, limit = cgroup, "memory.max"
        elif "memory" in controllers.split(","):
            root, limit = cgroup / "memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in place.split("/") if part not in ("", "..")]
        seen |= {(root.joinpath(*parts[:depth]), limit) for depth in range(len(parts) + 1)}
    for folder, limit in seen:
        yield _group(folder, limit, "memory.current" if limit == "memory.max" else "memory.usage_in_bytes")


def _group(folder: Path, limit: str, usage: str) -> int | None:
    """What is left below the limit of a control group, where there is one; cached files that nobody holds are free."""
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        if most == "max" or int(most) >= NO_LIMIT:
            return None
        cached = 0
        with contextlib.suppress(OSError, ValueError):
            told = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached = int(told.get("total_inactive_file", told.get("inactive_file", 0)))
        return max(0, int(most) - max(0, used - cached))
    except (OSError, ValueError):
        return None


def size(count: int) -> str:
    """`3.5 GB`, `512 MB`: bytes by powers of 1024."""
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"
