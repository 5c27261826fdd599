"""What all tests share: the counts of matrices are told at the end of a run."""

from __future__ import annotations

import pytest

LINES = 8
"""Printed lines told of one test."""


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
