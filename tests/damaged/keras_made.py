"""Models that the installed Keras saved, made once a session, and what Keras says to files: one child for all."""

from __future__ import annotations

import atexit
import json
import shutil
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any

import pytest

from tests import warm_tensorflow

CHILD = Path(__file__).with_name("keras_child.py")


@cache
def keras_folder() -> Path:
    """A folder of healthy saves: tiny.keras, folder/, shards/, npz.keras, lookup.keras, bare.keras."""
    folder = Path(mkdtemp(prefix="keras_made_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _run("make", [str(folder)])
    return folder


@cache
def configured_folder() -> Path:
    """Models of the same weights that differ in one layer's configuration: see `keras_configured`."""
    folder = Path(mkdtemp(prefix="keras_configured_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _run("configured", [str(folder)])
    return folder


@cache
def forms_folder() -> Path:
    """A folder a model, each saved in every form: see `keras_forms`."""
    folder = Path(mkdtemp(prefix="keras_forms_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _run("forms", [str(folder)])
    return folder


def keras_says(what: str, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """{"error", "text", "sums"} by path: what Keras says when it loads each; `what` is `load` or `weights`."""
    lines = _run(what, [str(path) for path in paths])
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    return {answer["path"]: answer for answer in answers}


@cache
def _child() -> tuple[IO[str], IO[str], IO[str]]:
    """What the child reads, writes, and writes to stderr; it ends with the session, when its stdin does."""
    noise = TemporaryFile("w+")  # noqa: SIM115 (as long-lived as the child)
    _, stdin, stdout = warm_tensorflow.talking([CHILD], noise.fileno())
    return stdin, stdout, noise


def _run(what: str, arguments: list[str]) -> list[str]:
    """The lines of the child's answer to one job."""
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    stdin, stdout, noise = _child()
    stdin.write(json.dumps([what, arguments]) + "\n")
    stdin.flush()
    lines: list[str] = []
    for line in stdout:
        if line == "done\n":
            return lines
        lines.append(line)
    noise.seek(0)
    raise AssertionError(noise.read()[-3000:])
