"""What a child that died or had to be killed leaves to tell: how it ended, its last line, what may lie behind it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from pathlib import Path

from ckptui.core.text import safe

CHATTER = re.compile(
    r"""
      ^[IW]\d{4}\ \d\d:\d\d:\d\d                  # absl: I0000 00:00:1763820000.123456 ...
    | ^\d{4}-\d\d-\d\d\ \d\d:\d\d:[\d.]+:\ [IW]\  # TensorFlow: 2026-01-31 10:00:00.123456: I tensorflow/...
    | \bAll\ log\ messages\ before\ absl::InitializeLog
    | \bTo\ enable\ the\ following\ instructions\b
    | \bcpu_feature_guard\b | \boneDNN\b | \bTF-TRT\ Warning\b
    | \bCould\ not\ find\ (?:cuda\ drivers|TensorRT)\b
    | \bUnable\ to\ register\ cu\w+\ (?:factory|plugin)\b | \bfailed\ call\ to\ cuInit\b
    | ^\s*@\s+0x[0-9a-f]+\s | ^\*\*\*\ .*\ \*\*\*$ # the stack after a fatal line
    | \bXNNPACK\ delegate\b
    """,
    re.VERBOSE,
)
"""Lines that TensorFlow logs in every healthy process, and the addresses after its last line in any other."""
LONGEST = 200
KILLED_HINT = "Something outside killed it, often for lack of memory: see `dmesg`"
STOPPED_HINT = "Something outside stopped it (SIGSTOP, a debugger); the next request starts a new one"


def last_line(lines: Iterable[bytes]) -> str:
    """The last line that may be a reason, made harmless, in brackets; empty where all is TensorFlow's usual log."""
    told = [line.decode("utf-8", "replace").strip() for line in lines]
    reasons = [line for line in told if line and not CHATTER.search(line)]
    return f" ({safe(reasons[-1], LONGEST)})" if reasons else ""


def ending(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def stopped(pid: int) -> bool:
    """Whether the process is stopped, by a signal or a debugger: the third field of /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
