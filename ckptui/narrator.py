"""How far a command is, said on a terminal and nowhere else."""

from __future__ import annotations

import sys

from ckptui.core.model import Progress
from ckptui.core.text import human_bytes, safe


class Narrator:
    """Progress on stderr, only when that is a terminal, erased when done."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = False

    def tell(self, text: str) -> None:
        """Replace the line shown by this one."""
        if self._live:
            sys.stderr.write(f"\r\x1b[K{safe(text, 200)[:78]}")
            sys.stderr.flush()
            self._shown = True

    def progress(self, what: str, progress: Progress) -> None:
        """`check ckpt-5  61 %  3.1 GB/s  4 s`."""
        percent = 100 * progress.done_bytes / progress.total_bytes if progress.total_bytes else 100
        left = progress.seconds_left
        tail = f"  {left:.0f} s left" if left is not None and left >= 1 else ""
        self.tell(f"{what}  {percent:.0f} %  {human_bytes(progress.rate)}/s{tail}")

    def close(self) -> None:
        """Erase the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
