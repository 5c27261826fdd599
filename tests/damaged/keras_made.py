"""Models that the installed Keras saved, made once a session, and what Keras says to files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

CHILD = Path(__file__).with_name("keras_child.py")


@cache
def keras_folder() -> Path:
    """A folder of healthy saves: tiny.keras, folder/, shards/, npz.keras, lookup.keras, bare.keras."""
    folder = Path(mkdtemp(prefix="keras_made_"))
    _run("make", [str(folder)])
    return folder


def keras_says(what: str, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """{"error", "text", "sums"} by path: what Keras says when it loads each; `what` is `load` or `weights`."""
    lines = _run(what, [str(path) for path in paths]).splitlines()
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    return {answer["path"]: answer for answer in answers}


def _run(what: str, arguments: list[str]) -> str:
    done = subprocess.run([sys.executable, str(CHILD), what, *arguments], capture_output=True, timeout=240)
    if b"No module named 'keras'" in done.stderr:
        pytest.skip("Keras is not installed")
    assert done.returncode == 0, done.stderr[-3000:].decode()
    return done.stdout.decode()
