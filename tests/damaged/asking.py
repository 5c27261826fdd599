"""What the program and TensorFlow make of the same damaged files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.places import ROOT

Said = dict[str, dict[str, str]]
"""Prefix to {tensor: message or digest}; the empty tensor is the opening."""


def ask_tensorflow(tensorflow: Callable[..., Any], prefixes: list[str]) -> Said:
    """What TensorFlow says when it opens these bundles and reads every tensor; none may abort it."""
    said: Said = {prefix: {} for prefix in prefixes}
    for prefix, name, message in tensorflow("bundles", prefixes):
        said[prefix][name] = message
    return said


def digest(array: np.ndarray[Any, Any]) -> str:
    """As the child makes it: of the bytes; of length-prefixed elements for strings."""
    if array.dtype == object:
        raw = b"".join(len(item).to_bytes(8, "little") + item for item in array.reshape(-1).tolist())
    else:
        raw = np.ascontiguousarray(array).tobytes()
    return f"sha256 {hashlib.sha256(raw).hexdigest()}"


def check_json(path: str | Path, *options: str) -> dict[str, Any]:
    """The document of `ckptui check --json`."""
    run = subprocess.run(
        [sys.executable, "-m", "ckptui", "check", "--json", *options, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout, run.stderr[-2000:]
    document: dict[str, Any] = json.loads(run.stdout)
    return document
