"""Runs `hdf5_child.py` over many files, starting it again behind each file that kills or hangs it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("hdf5_child.py")
LIMIT_SECONDS = 10.0


@dataclass
class Outcome:
    """What became of one file."""

    path: str
    end: str = "done"
    """`done`, `crashed`, `hung`, or `failed` for a Python exception that nobody caught."""
    stage: str = ""
    """`start` while our reader was at it, `mine` while plain h5py was."""
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def outcomes(paths: Sequence[Path]) -> list[Outcome]:
    """One outcome for each path."""
    waiting = [os.fspath(path) for path in paths]
    found: list[Outcome] = []
    while waiting:
        done = _run(waiting)
        found += done
        waiting = waiting[len(done) :]
    return found


def _run(paths: list[str]) -> list[Outcome]:
    """Outcomes up to and including the first file the child does not survive."""
    child = subprocess.Popen(
        [sys.executable, os.fspath(CHILD), *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(CHILD.parents[2])},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    found: list[Outcome] = []
    stage, last, rest = "start", time.monotonic(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, last + LIMIT_SECONDS - time.monotonic())):
                child.kill()
                found.append(Outcome(paths[len(found)], "hung", stage))
                break
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                break
            last = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                word, _, tail = line.decode().partition(" ")
                stage = "start" if word == "done" else word
                if word == "done":
                    path = paths[len(found)]
                    found.append(Outcome(path, "done", "done", json.loads(tail[len(path) + 1 :])))
    error = child.stderr.read().decode(errors="replace")
    code = child.wait()
    if code and len(found) < len(paths) and (not found or found[-1].end == "done"):
        end = "crashed" if code < 0 else "failed"
        found.append(Outcome(paths[len(found)], end, stage, error=error[-2000:]))
    return found
