"""Plans and reports of salvages, for tests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ckptui.core.salvage import SalvageItem, SalvagePlan, SalvageReport
from ckptui.session import Session


def planned(session: Session, path: Any, **options: Any) -> SalvagePlan:
    """The plan that `Session.plan_salvage` ends with."""
    steps = list(session.plan_salvage(str(path), **options))
    assert isinstance(steps[-1], SalvagePlan)
    return steps[-1]


def salvaged(session: Session, path: Any, target: Any, **options: Any) -> SalvageReport:
    """Plan and write; the source must be what it was, to the nanosecond."""
    before = state_of(Path(path).parent)
    plan = planned(session, path, **options)
    steps = list(session.salvage(plan, str(target), repair_bits=options.get("repair_bits", False)))
    assert isinstance(steps[-1], SalvageReport)
    assert state_of(Path(path).parent) == before
    return steps[-1]


def state_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    """mtime, ctime and hash of every file below a folder, and the folders' own times."""
    found = {}
    for place, _, names in os.walk(folder):
        info = os.stat(place)
        found[place] = (info.st_mtime_ns, info.st_ctime_ns, "")
        for name in names:
            path = os.path.join(place, name)
            info = os.stat(path)
            found[path] = (info.st_mtime_ns, info.st_ctime_ns, hashlib.sha256(Path(path).read_bytes()).hexdigest())
    return found


def outcomes(plan: SalvagePlan | SalvageReport) -> dict[str, str]:
    """Outcome by tensor."""
    items = plan.plan.items if isinstance(plan, SalvageReport) else plan.items
    return {item.name: item.outcome for item in items}


def item(plan: SalvagePlan, name: str) -> SalvageItem:
    return next(one for one in plan.items if one.name == name)


def flip(path: Any, byte: int, bit: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(Path(path).read_bytes())
    data[byte] ^= 1 << bit
    Path(path).write_bytes(data)
