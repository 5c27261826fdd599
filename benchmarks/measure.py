"""Timing whole processes side by side, and a real terminal from outside."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """One finished process."""

    seconds: float
    peak_mb: float
    """Peak resident memory of the process itself, children not counted."""


def run_process(command: Sequence[str], *, children: bool = False) -> Cost:
    """Run a command to its end, its output thrown away; raises CalledProcessError when it ends with 2 or more.

    With `children` the peak is that of the largest of its processes, looked at ten times a second.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while children and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max([peak, *map(_peak_mb, _family(process.pid))])
        time.sleep(0.1)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code not in (0, 1):
        raise subprocess.CalledProcessError(code, command)
    return Cost(seconds, max(peak, usage.ru_maxrss / 1000))


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            # a child belongs to the thread that started it
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as names:
                    found += map(int, names.read().split())
        except OSError:
            continue
    return found


def _peak_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/status") as lines:
            return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), 0.0)
    except OSError:
        return 0.0


def in_turn(commands: dict[str, Sequence[str]], rounds: int) -> dict[str, Cost]:
    """Median cost of each command, run A B C A B C so that a drifting machine is fair to all; one warm-up round."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            cost = run_process(command)
            if turn:
                costs[name].append(cost)
    return {
        name: Cost(statistics.median(c.seconds for c in taken), max(c.peak_mb for c in taken))
        for name, taken in costs.items()
    }


class Terminal:
    """A ckptui on a pseudo-terminal, its output read as it comes."""

    def __init__(self, arguments: Sequence[str], columns: int = 120, rows: int = 40) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8")
            os.execv(sys.executable, [sys.executable, "-m", "ckptui", *arguments])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seen = b""

    def read(self, seconds: float) -> bytes:
        """What comes within `seconds`; returns at the first bytes."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return b""
        try:
            got = os.read(self.fd, 1 << 16)
        except OSError:
            return b""
        self.seen += got
        return got

    def until(self, test: Callable[[bytes], bool], seconds: float = 20) -> float:
        """Seconds from the start of the process until what was drawn passes `test`.

        Raises:
            TimeoutError: it never did.
        """
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.read(0.05)
            if test(self.seen):
                return time.perf_counter() - self.started
        raise TimeoutError(f"never drawn; last: {self.seen[-300:]!r}")

    def settle(self, quiet: float = 0.4, at_most: float = 10) -> None:
        """Read until nothing has come for `quiet` seconds."""
        end = time.perf_counter() + at_most
        while time.perf_counter() < end and self.read(quiet):
            pass

    def key(self, key: bytes, expect: Callable[[bytes], bool], seconds: float = 2) -> float:
        """Seconds from a key press until output that passes `expect` has come."""
        self.seen = b""
        started = time.perf_counter()
        os.write(self.fd, key)
        while time.perf_counter() - started < seconds:
            if self.read(0.02) and expect(self.seen):
                return time.perf_counter() - started
        raise TimeoutError(f"no answer to {key!r}: {self.seen[-200:]!r}")

    def close(self) -> None:
        """Hang up, as a lost connection would, and reap."""
        os.kill(self.pid, signal.SIGHUP)
        end = time.perf_counter() + 3
        while time.perf_counter() < end:
            self.read(0.05)
            done, _ = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
