"""Kernels of a save looked at filter by filter in reader children; a crash costs one kernel."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Artifact, Finding, Kind, Layer, Tensor
from ckptui.engine.facts import unpack
from ckptui.engine.items import Done, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.engine.schedule import failure
from ckptui.errors import CkptuiError, ReaderFailed

WORTH_ALL = 8 << 20
"""Bytes of a save from which all reader children open it while its listing is read."""
IDLE_TIMEOUT = 20.0
"""Seconds one kernel may take without a sign of life: near duplicates among thousands of filters are slow."""


def make_ready(pool: Pool, path: str, kind: Kind) -> list[threading.Thread]:
    """Have all reader children but one start and open a save worth it, and return at once with their threads.

    What fails here fails again, and is told, when the filters are asked for.
    """
    data = ".data-00000-of-00001"
    if max(map(_size, (path, path + data, f"{path}/variables/variables{data}"))) < WORTH_ALL:
        return []

    def open_it() -> None:
        with suppress(CkptuiError):
            pool.call("layers", {"path": path, "kind": kind, "items": []})

    threads = [
        threading.Thread(target=open_it, name=f"ckptui-ready-{number}", daemon=True) for number in range(pool.size - 1)
    ]
    for thread in threads:
        thread.start()
    return threads


def look_at_layers(
    pool: Pool, artifact: Artifact, tensors: Sequence[Tensor], cancel: Flag | None = None
) -> Iterator[Layer | Finding]:
    """The Layer of every tensor that has filters, in the order given, each followed by its findings."""
    args = {"path": artifact.path, "kind": artifact.kind}
    names = [t.name for t in tensors]
    # one kernel a task: results come in the order of the model, held back only while an earlier one is under way
    waiting: dict[int, list[Layer | Finding]] = {}
    following = 0
    tasks = [[n] for n in range(len(names))]
    for item in run_items(pool, "layers", args, names, tasks, cancel=cancel, idle_timeout=IDLE_TIMEOUT):
        if isinstance(item, Done):
            continue
        error = item.error
        waiting[item.key] = (
            [failure(artifact.path, names[item.key], error)]
            if error is not None
            else _answer(artifact.path, names[item.key], item.doc)
        )
        while following in waiting:
            yield from waiting.pop(following)
            following += 1


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def _answer(path: str, name: str, doc: Any) -> list[Layer | Finding]:
    try:
        layer = None if doc["layer"] is None else unpack(doc["layer"], Layer)
        findings = [unpack(finding, Finding) for finding in doc["findings"]]
        if doc["skipped"]:
            title = "Too large to be looked at filter by filter"
            findings.append(make("unsupported-format", path, name, detail=str(doc["skipped"]), title=title))
    except (ReaderFailed, KeyError, TypeError) as error:
        return [failure(path, name, ReaderFailed(f"it answered with {error}"))]
    return [*([layer] if layer is not None else []), *findings]
