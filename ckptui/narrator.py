"""How far a command is, and what it asks: on a terminal and nowhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

from ckptui.core.model import Progress
from ckptui.core.text import encodable, human_bytes, safe

WIDTH = 78
"""Columns of the line."""


class Narrator:
    """Progress on stderr, only when that is a terminal, erased when done."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        """Somebody watches."""
        self._shown = False
        self._lock = threading.Lock()
        self._waiting: threading.Event | None = None
        """Set to end the thread that counts seconds."""

    def tell(self, text: str) -> None:
        """Replace the line shown by this one."""
        self._still()
        self._write(text)

    def wait(self, text: str) -> None:
        """As `tell`, and once a second how many it has been, until the next line: `starting TensorFlow  7 s`."""
        self.tell(text)
        if self.live:
            stop = self._waiting = threading.Event()
            threading.Thread(target=self._count, args=(text, stop), name="ckptui-seconds", daemon=True).start()

    def _count(self, text: str, stop: threading.Event) -> None:
        begin = time.monotonic()
        while not stop.wait(1.0):
            with self._lock:
                if not stop.is_set():
                    self._put(f"{text}  {time.monotonic() - begin:.0f} s")

    def _still(self) -> None:
        with self._lock:
            if self._waiting is not None:
                self._waiting.set()
            self._waiting = None

    def _write(self, text: str) -> None:
        if self.live:
            with self._lock:
                self._put(text)

    def _put(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{safe(text, 200)[:WIDTH]}")
        sys.stderr.flush()
        self._shown = True

    def progress(self, what: str, progress: Progress) -> None:
        """`ckpt-5  61 %  12 GB of 20 GB  3.1 GB/s  4 s left`; the amounts only where the line has room."""
        percent = 100 * progress.done_bytes / progress.total_bytes if progress.total_bytes else 100
        left = progress.seconds_left
        tail = f"  {left:.0f} s left" if left is not None and left >= 1 else ""
        tail = f"  {human_bytes(progress.rate)}/s{tail}"
        amount = f"  {human_bytes(progress.done_bytes)} of {human_bytes(progress.total_bytes)}"
        line = f"{what}  {percent:.0f} %"
        self.tell(line + (amount if len(line + amount + tail) <= WIDTH else "") + tail)

    def close(self) -> None:
        """Erase the line."""
        self._still()
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Course:
    """Progress through many saves: which of how many, and bytes, rate and time left of them all."""

    def __init__(self, narrator: Narrator, sizes: Sequence[int], *, bytes_count: bool = True) -> None:
        """`sizes`: bytes to be read of each save, as far as is known before it is opened.

        Without `bytes_count` only saves are counted.
        """
        self.bytes_count = bytes_count
        self.narrator = narrator
        self.sizes = list(sizes)
        self.place = 0
        self.label = ""
        self._before = 0
        self._started = time.monotonic()
        self._told = 0.0

    def start(self, place: int, label: str) -> None:
        """The save at `place`, from 0, comes next."""
        self._before = sum(self.sizes[:place]) if place <= self.place else self._before + self.sizes[self.place]
        self.place, self.label = place, label
        self._tell(0)

    def progress(self, progress: Progress) -> None:
        """How far the save is that was started last."""
        self._tell(min(progress.done_bytes, self.sizes[self.place]))

    def _tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told < 0.1:
            return
        self._told = now
        what = f"{self.place + 1} of {len(self.sizes)}  {self.label}" if len(self.sizes) > 1 else self.label
        if self.bytes_count:
            self.narrator.progress(what, self.course(done, now - self._started))
        else:
            self.narrator.tell(what)

    def course(self, done: int, seconds: float) -> Progress:
        """How far all saves are, with `done` bytes of the current one."""
        return Progress(self._before + done, sum(self.sizes), self.place, len(self.sizes), seconds, self.label)


def ask(lines: Sequence[str], question: str) -> bool:
    """Show the lines and ask; True for yes. Without a terminal on stdin and stderr nothing is shown: no.

    Ctrl+C goes through as KeyboardInterrupt; the end of the input is a no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    encoding = sys.stderr.encoding or "utf-8"
    for line in lines:
        sys.stderr.write(encodable(line, encoding) + "\n")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
