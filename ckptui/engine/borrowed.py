"""A reader child for successive requests that rest on what it keeps between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptui.engine.pool import DEFAULT_IDLE_TIMEOUT, Flag, Pool
from ckptui.engine.process import EventHandler, ReaderProcess, Reply
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed


class Borrowed:
    """One child of a pool, for one caller at a time. After a crash or a hang the next call gets another one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._child: ReaderProcess | None = None
        self.lives = 0
        """How many children it has been: what an earlier one kept is gone."""

    def call(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        cancel: Flag | None = None,
        on_event: EventHandler | None = None,
        idle_timeout: float = DEFAULT_IDLE_TIMEOUT,
    ) -> Reply:
        """Have the child carry out `op`; as `Pool.call`."""
        self.ready()
        child = self._child
        assert child is not None
        try:
            answer = child.request(op, args, cancel=cancel, on_event=on_event, idle_timeout=idle_timeout)
        except BaseException as error:
            self._child = None
            self._pool.take_back(child, usable=False)
            if self._pool.closed and isinstance(error, ReaderCrashed):
                raise Cancelled("the readers were shut down") from None
            raise
        if isinstance(answer, CkptuiError):
            raise answer
        return answer

    def ready(self) -> int:
        """Have a child that lives; returns which one it is, counted from 1. Raises Cancelled."""
        if self._child is not None and not self._child.alive:
            self._pool.take_back(self._child, usable=False)
            self._child = None
        if self._child is None:
            self._child = self._pool.lend()
            self.lives += 1
        return self.lives

    def close(self, *, usable: bool) -> None:
        """Give the child back; not `usable` where it may still be at work or keep something."""
        child, self._child = self._child, None
        if child is not None:
            self._pool.take_back(child, usable=usable)
