"""A real terminal (tmux), driven by keys alone: open, filter, inspect, diff, predict, quit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT, SAMPLES, needs_samples

pytestmark = [
    needs_samples,
    pytest.mark.terminal,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Screen:
    """One tmux session of a given size."""

    def __init__(self, columns: int, rows: int, *arguments: str) -> None:
        self.server = f"ckptui-test-{os.getpid()}-{time.monotonic_ns()}"
        command = " ".join([sys.executable, "-m", "ckptui", *arguments])
        self._tmux(
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(rows),
            f"cd {ROOT} && env -u COLUMNS -u LINES {command}; echo ended with $?; cat",
        )

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.server, "-f", "/dev/null", *arguments],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        return done.stdout

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def until(self, *words: str, seconds: float = 30) -> str:
        """The screen once all words are on it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.text()
            if all(word in shown for word in words):
                return shown
            time.sleep(0.1)
        raise AssertionError(f"{words} never appeared together; the screen:\n{self.text()}")

    def until_gone(self, word: str, seconds: float = 30) -> None:
        """Wait until a word is no longer on the screen."""
        end = time.monotonic() + seconds
        while word in self.text():
            assert time.monotonic() < end, f"{word} stays:\n{self.text()}"
            time.sleep(0.1)

    def processes(self) -> set[int]:
        """Every process started from this terminal."""
        found, waiting = set(), [int(self._tmux("display-message", "-p", "#{pane_pid}"))]
        while waiting:
            listed = subprocess.run(["pgrep", "-P", str(waiting.pop())], capture_output=True, text=True, check=False)
            children = [int(pid) for pid in listed.stdout.split()]
            found.update(children)
            waiting += children
        return found

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.server, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def wide() -> Iterator[Screen]:
    screen = Screen(120, 40, str(SAMPLES))
    yield screen
    screen.close()


@pytest.fixture
def narrow() -> Iterator[Screen]:
    screen = Screen(80, 24, str(SAMPLES / "digits"))
    yield screen
    screen.close()


def test_open_filter_inspect_and_quit(wide: Screen) -> None:
    wide.until("Saves", "Tensors", "checksum", "quit")
    # whichever save is the newest where the samples were just copied: the first kernel has one channel in all
    wide.keys("/", "conv1/kernel", "Enter")
    wide.until("conv1/kernel")
    wide.until_gone("conv2/kernel")
    wide.until_gone("conv1/bias ")
    wide.keys("f")
    wide.until("the weights")
    wide.keys("q")
    wide.until("ended with 0")


def test_eighty_columns_lose_nothing(narrow: Screen) -> None:
    narrow.until("ckpt-5", "pane", "help", "quit")
    for _ in range(3):
        narrow.keys("Tab")
        shown = narrow.until("quit")
        assert all(len(line) <= 80 for line in shown.splitlines())
    narrow.keys("?")
    narrow.until("Signs")
    narrow.keys("Escape")
    narrow.until_gone("Signs")
    narrow.keys("q")
    narrow.until("ended with 0")


def test_diff_with_the_previous_save(narrow: Screen) -> None:
    narrow.until("ckpt-5")
    narrow.keys("d")
    narrow.until("ckpt-4", "ckpt-5", "changed")
    narrow.keys("Escape")
    narrow.until("quit")


@pytest.mark.tensorflow
def test_a_damaged_save_is_named_and_salvaged(tmp_path: Path) -> None:
    screen = Screen(80, 24, str(SAMPLES / "broken" / "flipped_bit"))
    try:
        screen.until("ckpt-2", "1 error", "salvage")
        screen.keys("2")
        screen.until("checksum-mismatch", "bit 4 of byte")
        screen.keys("S")
        screen.until("11 of 12 tensors come back", "Turn a flipped bit back")
        screen.keys("C-u")
        screen.until_gone("ckpt-2-salvaged")
        screen.keys(*str(tmp_path / "back"))
        screen.until("/back ")
        screen.keys("Enter")
        screen.until("Written", "load_checkpoint")
        screen.keys("Escape")
        screen.until_gone("Written")
        screen.keys("q")
        screen.until("ended with 0")
    finally:
        screen.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "back.index",
        "back.data-00000-of-00001",
        "back.salvage.json",
    }


def test_predict_at_once_with_the_image_beside(wide: Screen) -> None:
    wide.until("digits.keras", "checksum")
    wide.keys("p")
    wide.until("Predict", "image")
    wide.keys("Enter")
    wide.until("fresh", "flip", seconds=120)
    wide.until("bit-identical", seconds=120)
    wide.keys("q")


def runs(pid: int) -> bool:
    """Whether a process still runs; one that has ended and waits to be reaped by whoever adopted it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_lost_connection_leaves_no_process_behind() -> None:
    screen = Screen(120, 30, str(SAMPLES))
    screen.until("Saves", "checksum")
    started = screen.processes()
    assert len(started) >= 2
    screen.close()
    end = time.monotonic() + 15
    while left := {pid for pid in started if runs(pid)}:
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        assert time.monotonic() < end, f"still running: {commands}"
        time.sleep(0.1)
