"""The reader children: started on demand, at most one per core and one for a pane that waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ckptui.engine.process import ADDRESS_SPACE, Event, EventHandler, Flag, ReaderProcess, Reply
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed

__all__ = ["Event", "Flag", "Pool", "Reply", "twice"]

DEFAULT_IDLE_TIMEOUT = 4.0
"""Seconds without a sign of life after which a child counts as hung."""
_MOST_BY_DEFAULT = 4
_SHUT = "the readers were shut down"


class Pool:
    """Reader children for callers in any thread. Close it, or use it in `with`."""

    def __init__(
        self,
        size: int | None = None,
        nice: int = 0,
        *,
        ops_module: str = "ckptui.engine.ops",
        address_space: int = ADDRESS_SPACE,
    ) -> None:
        """`size` children for long jobs (default: one per core, four at most), each of `address_space` bytes.

        `nice` above 0 means a screen is attached: children give way to everything else.
        """
        self.size = size or min(os.cpu_count() or 1, _MOST_BY_DEFAULT)
        self.nice = nice
        self._ops_module = ops_module
        self._address_space = address_space
        self._free = threading.Condition()
        self._idle: list[ReaderProcess] = []
        self._busy: set[ReaderProcess] = set()
        self._lent: set[ReaderProcess] = set()
        """Children that keep something for one caller; they are not counted, so that lending can't starve a pane."""
        self._starting = 0
        self._dying: list[ReaderProcess] = []
        self._closed = False
        self.limits: dict[str, bool] = {}
        """Which limits the last child that answered works under, by name."""

    def call(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        cancel: Flag | None = None,
        on_event: EventHandler | None = None,
        idle_timeout: float = DEFAULT_IDLE_TIMEOUT,
    ) -> Reply:
        """Have a child carry out `op`; blocks. Events come by `on_event` in this thread.

        Raises:
            ReaderCrashed, ReaderHung, Cancelled: the child was killed; the next call gets another one.
            CkptuiError: what the child reported, as the same class.
        """
        child = self._take(cancel)
        try:
            answer = child.request(op, args, cancel=cancel, on_event=on_event, idle_timeout=idle_timeout)
        except BaseException as error:
            self._give_up(child)
            if self._closed and isinstance(error, ReaderCrashed):
                raise Cancelled(_SHUT) from None
            raise
        self.limits = child.limits
        self._give_back(child)
        if isinstance(answer, CkptuiError):
            raise answer
        return answer

    def lend(self) -> ReaderProcess:
        """A child for successive requests of one caller, see `borrowed.Borrowed`. Raises Cancelled."""
        with self._free:
            if self._closed:
                raise Cancelled(_SHUT)
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    self._lent.add(child)
                    return child
                child.kill()
        child = ReaderProcess(self._ops_module, self.nice, self._address_space)
        with self._free:
            self._lent.add(child)
        return child

    def take_back(self, child: ReaderProcess, *, usable: bool) -> None:
        """The end of a loan; a child that is not `usable` is killed."""
        with self._free:
            self._lent.discard(child)
            kept = usable and not self._closed and len(self._idle) <= self.size
            if kept:
                self._idle.append(child)
        if not kept:
            self._give_up(child)

    @property
    def closed(self) -> bool:
        """Whether the readers were shut down."""
        return self._closed

    def close(self) -> None:
        """Kill and reap every child; calls under way end as crashed. May be repeated."""
        with self._free:
            self._closed = True
            children = [*self._idle, *self._dying]
            busy = [*self._busy, *self._lent]
            self._idle, self._dying = [], []
            self._free.notify_all()
        for child in children:
            child.kill()
            child.reap(2)
        for child in busy:
            # its caller sees the end of the pipe and gives it up
            child.stop()
        with self._free:
            self._free.wait_for(lambda: not self._busy and not self._starting, timeout=3)
            dying, self._dying = self._dying, []
        for child in dying:
            child.reap(2)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ children

    def _take(self, cancel: Flag | None) -> ReaderProcess:
        """An idle child that lives, or a new one; waits while all are busy."""
        with self._free:
            while True:
                if self._closed:
                    raise Cancelled(_SHUT)
                if cancel is not None and cancel.is_set():
                    raise Cancelled("before it began")
                self._dying = [child for child in self._dying if not child.reap(0)]
                while self._idle:
                    child = self._idle.pop()
                    if child.alive:
                        self._busy.add(child)
                        return child
                    child.kill()
                if len(self._busy) + self._starting <= self.size:
                    self._starting += 1
                    break
                self._free.wait(0.05)
        started: ReaderProcess | None = None
        try:
            started = ReaderProcess(self._ops_module, self.nice, self._address_space)
        finally:
            with self._free:
                self._starting -= 1
                if started is not None:
                    self._busy.add(started)
                self._free.notify_all()
        return started

    def _give_back(self, child: ReaderProcess) -> None:
        with self._free:
            keep = not self._closed
            if keep:
                self._busy.discard(child)
                self._idle.append(child)
                self._free.notify_all()
        if not keep:
            self._give_up(child)

    def _give_up(self, child: ReaderProcess) -> None:
        gone = child.kill()
        with self._free:
            self._busy.discard(child)
            if not gone:
                self._dying.append(child)
            self._free.notify_all()


def twice(attempt: Callable[[], Reply]) -> Reply:
    """Carry out a call once more if its child crashes: the crash may have been another process's doing."""
    try:
        return attempt()
    except ReaderCrashed:
        return attempt()
