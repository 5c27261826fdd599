"""Threads that work off a list of tasks and hand what they get to one consumer."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ckptui.engine.process import Flag

Task = TypeVar("Task")
Item = TypeVar("Item")
Put = Callable[[Item], None]
Work = Callable[[Task, Callable[[Item], None], Flag], None]


class _Either:
    """Set when one of two flags is."""

    def __init__(self, own: threading.Event, other: Flag | None) -> None:
        self._own, self._other = own, other

    def is_set(self) -> bool:
        return self._own.is_set() or (self._other is not None and self._other.is_set())


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def run_crew(size: int, tasks: Iterable[Task], work: Work[Task, Item], cancel: Flag | None = None) -> Iterator[Item]:
    """Carry out `work(task, put, stop)` for every task on `size` threads; yields what they put, as it comes.

    `tasks` may be a deque that `work` appends to. An exception that `work` lets out ends everything and is raised
    here. When `cancel` is set, or the consumer stops early, `stop` is set for all and no further task begins.
    """
    waiting: deque[Task] = tasks if isinstance(tasks, deque) else deque(tasks)
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()
    own = threading.Event()
    stop = _Either(own, cancel)
    lock = threading.Condition()
    running = 0

    def has_to_wait() -> bool:
        # a task under way may still append others
        return not waiting and running > 0 and not stop.is_set()

    def member() -> None:
        nonlocal running
        while True:
            with lock:
                while has_to_wait():
                    lock.wait()
                if stop.is_set() or not waiting:
                    break
                task = waiting.popleft()
                running += 1
            try:
                work(task, box.put, stop)
            except BaseException as error:
                # carried over to the consumer's thread, where it is raised
                own.set()
                box.put(_Failed(error))
            finally:
                with lock:
                    running -= 1
                    lock.notify_all()
        box.put(None)

    members = [threading.Thread(target=member, name=f"ckptui-crew-{n}", daemon=True) for n in range(size)]
    for thread in members:
        thread.start()
    try:
        left = len(members)
        while left:
            item = box.get()
            if item is None:
                left -= 1
            elif isinstance(item, _Failed):
                raise item.error
            else:
                yield item
    finally:
        own.set()
        with lock:
            lock.notify_all()
        for thread in members:
            thread.join()
