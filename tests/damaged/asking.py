"""What the program and TensorFlow make of the same damaged files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.places import ROOT

CHILD = Path(__file__).with_name("tensorflow_reads.py")
Said = dict[str, dict[str, str]]
"""Prefix to {tensor: message or digest}; the empty tensor is the opening."""


def ask_tensorflow(prefixes: list[str]) -> Said:
    """What TensorFlow says when it opens these bundles and reads every tensor."""
    run = subprocess.run([sys.executable, str(CHILD), *prefixes], cwd=ROOT, capture_output=True, text=True, timeout=200)
    said: Said = {prefix: {} for prefix in prefixes}
    for line in run.stdout.splitlines():
        prefix, name, message = json.loads(line)
        said[prefix][name] = message
    assert all(said.values()), run.stderr[-2000:]
    return said


def digest(array: np.ndarray[Any, Any]) -> str:
    """As the child makes it."""
    if array.dtype == object:
        return "sha256 " + hashlib.sha256(b"|".join(array.reshape(-1).tolist())).hexdigest()
    return "sha256 " + hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


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
