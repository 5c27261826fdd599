"""Saves that somebody writes while they are checked: looked at again, for what only a moment showed is no damage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ckptui.core.catalogue import make
from ckptui.core.model import Artifact, Finding, Found, worst_status
from ckptui.readers.discover import discover, resolve

ATTEMPTS = 3
PAUSE = 0.3
"""Seconds between them: a save's last renames take milliseconds."""
TICK = 0.004
"""Seconds by which the clock of a file system may lag behind."""


def in_motion(path: str, since: float) -> bool:
    """Did any file of the checkpoint or model at `path` appear or change after `since`, or is nothing of it left?

    `since` is in seconds since the epoch. Files that were removed can't be told from those that never were.
    """
    times = list(_changes(path))
    return not times or max(times) >= since - TICK


def _changes(path: str) -> Iterator[float]:
    """When each file of a save, and the temporary folder of a save in progress, changed last."""
    folder, base = os.path.split(path.partition("-?????-of-")[0])
    for place, start in ((folder or ".", base), (path, ""), (os.path.join(path, "variables"), "")):
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(start):
                        status = entry.stat()
                        yield max(status.st_mtime, status.st_ctime)
        except OSError:
            continue


def found_again(found: Found) -> Found:
    """The save as a look at its folder finds it now, with what lies beside it.

    Raises:
        NoSuchPath, NotASave: it is gone.
    """
    beside = discover([os.path.dirname(found.path) or "."], recurse=False)
    again = next((item for item in beside if isinstance(item, Found) and item.path == found.path), None)
    return resolve(found.path) if again is None else again


def unsettled(artifact: Artifact, findings: Sequence[Finding]) -> tuple[Artifact, list[Finding]]:
    """What is said of a save that did not hold still: that, and nothing about what it looked like in between."""
    kept = [finding for finding in findings if finding.severity != "error" and finding.code != "changed-while-reading"]
    detail = f"its files were written to during each of {ATTEMPTS} looks at them"
    if not any(_changes(artifact.path)):
        detail = "it was removed after it was found"
    kept.append(make("changed-while-reading", artifact.path, detail=detail))
    return replace(artifact, status=worst_status(kept, "ok")), kept
