"""What all tests share: the counts of matrices are told at the end of a run."""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests import warm_tensorflow
from tests.places import ROOT

# hundreds of children import ckptui: compiled once, not by each of them, whatever the shell says of bytecode
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LINES = 8
"""Printed lines told of one test."""


@pytest.fixture(scope="session", autouse=True)
def one_tensorflow() -> Iterator[None]:
    """The process that scripts of tests are forked from ends with the tests."""
    yield
    warm_tensorflow.end()


@pytest.fixture(scope="session", autouse=True)
def kept_results() -> Iterator[None]:
    """No test reads or writes results in the user's own cache folder; children inherit the place."""
    with tempfile.TemporaryDirectory(prefix="ckptui-cache-") as folder:
        before = os.environ.get("CKPTUI_CACHE")
        os.environ["CKPTUI_CACHE"] = folder
        yield
        if before is None:
            del os.environ["CKPTUI_CACHE"]
        else:
            os.environ["CKPTUI_CACHE"] = before


def pytest_configure(config: pytest.Config) -> None:
    """Files go to processes in their order, so that those of a folder share what it starts once; the ends are short."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    number = getattr(config, "workerinput", {}).get("workerid", "")
    if not number:
        # readers and workers read bytecode and never write any
        compileall.compile_dir(ROOT / "ckptui", quiet=2)
    elif number == "gw1" and [str(argument) for argument in config.args] == ["tests"]:
        imported_from_the_end()


def imported_from_the_end() -> None:
    """Import tests from the last one to the first that is compiled: processes that begin at both ends share the work.

    What pytest makes of asserts costs more than half of the time until the first test, and is kept with the bytecode.
    """
    for path in sorted((ROOT / "tests").rglob("test_*.py"), reverse=True):
        if any((path.parent / "__pycache__").glob(f"{path.stem}.{sys.implementation.cache_tag}-pytest-*")):
            return
        # whoever can't be imported says so when it is collected
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """What thousands of tests are made of stays: no later search for garbage looks through it again."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are called by their argument: made of files with times in them they differ from process to process."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What passed tests printed: how many cases a matrix went through, and what became of them."""
    told = [
        (report.nodeid, report.capstdout.strip().splitlines()[-LINES:])
        for report in terminalreporter.stats.get("passed", ())
        if report.when == "call" and report.capstdout.strip()
    ]
    if told:
        terminalreporter.section("counts")
    for name, lines in sorted(told):
        terminalreporter.write_line(name.removeprefix("tests/"))
        for line in lines:
            terminalreporter.write_line(f"    {line[:200]}")
