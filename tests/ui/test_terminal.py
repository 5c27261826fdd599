"""On a real terminal: however it ends, the screen is given back and nothing is left running."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pexpect
import pytest
from textual.css.query import NoMatches

from tests.ui.driving import NARROW, Bench

pytestmark = pytest.mark.terminal
ROOT = Path(__file__).parents[2]
LEAVES_SCREEN = "\x1b[?1049l"
KEYS = {"q": "q", "ctrl+c": "\x03"}


def start(*options: str, **environment: str) -> pexpect.spawn[str]:
    """The workbench in a terminal of 24 lines, once it shows its rows."""
    variables = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
    variables.pop("NO_COLOR", None)
    variables.update(environment)
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable, ["-m", "tests.ui.run_fake", *options], cwd=ROOT, env=variables,
        dimensions=(24, 80), encoding="utf-8", timeout=20,
    )  # fmt: skip
    child.expect("conv2/bias")
    return child


def ended(child: pexpect.spawn[str]) -> str:
    """What it wrote until it ended."""
    child.expect(pexpect.EOF)
    child.close()
    return child.before or ""


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_leave_give_the_screen_back(key: str) -> None:
    child = start("--busy")
    child.send(KEYS[key])
    rest = ended(child)
    assert LEAVES_SCREEN in rest
    assert "closed" in rest
    assert child.exitstatus == 0


def test_sigterm_gives_the_screen_back_even_while_a_scan_runs() -> None:
    child = start("--busy")
    child.kill(signal.SIGTERM)
    rest = ended(child)
    assert LEAVES_SCREEN in rest
    assert "closed" in rest
    assert child.signalstatus is None


def test_a_lost_connection_ends_it() -> None:
    child = start("--busy")
    child.kill(signal.SIGHUP)
    assert "closed" in ended(child)
    assert child.signalstatus is None


def test_plain_signs_send_nothing_but_ascii() -> None:
    child = start("--ascii")
    child.send("2")
    child.expect("shard-truncated")
    child.send("q")
    written = re.sub(r"\x1b\[[0-9;?<>=]*[a-zA-Z$]*", "", child.before + child.after + ended(child))
    assert written.isascii()


def test_no_color_sends_no_colour() -> None:
    child = start(NO_COLOR="1")
    child.send("q")
    written = child.before + child.after + ended(child)
    codes = [code for run in re.findall(r"\x1b\[([0-9;]*)m", written) for code in run.split(";")]
    assert not {code for code in codes if code.isdigit() and int(code) in {*range(30, 38), 38, *range(40, 48), 48}}


async def test_what_a_leaving_workbench_misses_is_no_error_but_what_a_staying_one_misses_is() -> None:
    app = Bench()
    async with app.run_test(size=NARROW):
        app.exit()
        app._handle_exception(NoMatches("taken away before it was put together"))
    assert app.return_code == 0
    staying = Bench()
    with pytest.raises(NoMatches):
        async with staying.run_test(size=NARROW):
            staying._handle_exception(NoMatches("not there"))
    assert staying.return_code == 1
