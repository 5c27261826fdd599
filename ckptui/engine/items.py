"""One op over many tensors on all reader children: a crash or a hang costs one tensor, the rest goes on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.engine.crew import run_crew
from ckptui.engine.pool import DEFAULT_IDLE_TIMEOUT, Event, Flag, Pool
from ckptui.engine.process import reported_error
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed, ReaderFailed, ReaderHung

MOST_CRASHES = 2
"""A tensor that crashes its reader this often is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item."""

    key: int
    """Its place in the list given."""
    doc: Any = None
    """The op's result; unchecked JSON data."""
    error: CkptuiError | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Bytes that were read meanwhile."""

    bytes: int
    current: str = ""
    """The item announced last, if any."""


@dataclass(slots=True)
class _Task:
    keys: list[int]
    careful: bool = False
    """Announce each item: a crash has happened and must be put down to one."""
    failures: int = 0
    """Ends of a child that could be put down to no item."""


@dataclass(slots=True)
class _Run:
    """The state of one `run_items`, shared by its threads."""

    pool: Pool
    op: str
    args: Mapping[str, Any]
    items: Sequence[Any]
    idle_timeout: float
    queue: deque[_Task]
    crashes: Counter[int] = field(default_factory=Counter)


def run_items(
    pool: Pool,
    op: str,
    args: Mapping[str, Any],
    items: Sequence[Any],
    tasks: Sequence[Sequence[int]],
    *,
    cancel: Flag | None = None,
    idle_timeout: float = DEFAULT_IDLE_TIMEOUT,
) -> Iterator[Outcome | Done]:
    """Have `op` carried out for all `items`, given to children as `tasks` (places in `items`), in that order.

    A name (or, of a list, its first name) must tell items apart within a task. Ends early without a word when
    `cancel` is set.

    Raises:
        CkptuiError: an op failed as a whole (the save can't be opened any more), or crashed twice before any item.
    """
    run = _Run(pool, op, args, items, idle_timeout, deque(_Task(list(task)) for task in tasks if task))

    def work(task: _Task, put: Callable[[Outcome | Done], None], stop: Flag) -> None:
        _carry_out(run, task, put, stop)

    return run_crew(pool.size, run.queue, work, cancel)


def name_of(item: Any) -> str:
    """What a child announces an item by."""
    return item if isinstance(item, str) else str(item[0] or item[1])


def _carry_out(run: _Run, task: _Task, put: Callable[[Outcome | Done], None], stop: Flag) -> None:
    left = dict.fromkeys(task.keys)
    current = ""

    def listen(event: Event) -> None:
        nonlocal current
        if event.kind == "begin":
            current = str(event.doc)
            put(Done(0, current))
            return
        results, done_bytes = _results(event.doc, len(task.keys))
        for index, result in results:
            left.pop(task.keys[index], None)
            put(_outcome(task.keys[index], result))
        put(Done(done_bytes, current))

    request = {**run.args, "items": [run.items[key] for key in task.keys], "careful": task.careful}
    try:
        run.pool.call(run.op, request, cancel=stop, on_event=listen, idle_timeout=run.idle_timeout)
    except Cancelled:
        return
    except (ReaderCrashed, ReaderHung) as error:
        _after_failure(run, task, list(left), error, put)
        return
    for key in left:
        put(Outcome(key, error=ReaderFailed("it gave no result")))


def _results(doc: Any, count: int) -> tuple[list[tuple[int, Any]], int]:
    """The [index, result] pairs of an event, and the bytes done. Raises ReaderCrashed for anything else."""
    refused = ReaderCrashed("sent something that is no result")
    if not isinstance(doc, dict) or not isinstance(doc.get("done"), list) or type(doc.get("bytes")) is not int:
        raise refused
    results = []
    for pair in doc["done"]:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 <= pair[0] < count):
            raise refused
        results.append((pair[0], pair[1]))
    return results, max(0, doc["bytes"])


def _outcome(key: int, result: Any) -> Outcome:
    if isinstance(result, dict) and "ok" in result:
        return Outcome(key, result["ok"])
    if isinstance(result, dict) and isinstance(result.get("error"), dict):
        return Outcome(key, error=reported_error(result["error"]))
    return Outcome(key, error=ReaderFailed("it answered with no result"))


def _after_failure(
    run: _Run,
    task: _Task,
    left: list[int],
    error: ReaderFailed,
    put: Callable[[Outcome | Done], None],
) -> None:
    """Give up the item that is to blame (at once for a hang, the second time for a crash) and queue the others.

    Where none is to blame yet, all that is left is done carefully, so that the next failure names one.
    """
    if not left:
        return
    guilty = next((key for key in left if error.item and name_of(run.items[key]) == error.item), None)
    if guilty is None:
        if task.failures + 1 >= MOST_CRASHES:
            raise error
        run.queue.appendleft(_Task(left, careful=True, failures=task.failures + 1))
        return
    others = [key for key in left if key != guilty]
    if others:
        run.queue.appendleft(_Task(others, careful=True))
    run.crashes[guilty] += 1
    if isinstance(error, ReaderHung) or run.crashes[guilty] >= MOST_CRASHES:
        put(Outcome(guilty, error=error))
    else:
        run.queue.appendleft(_Task([guilty], careful=True))


def neighbours_together(sizes: Sequence[int], most_bytes: int, most: int) -> list[list[int]]:
    """Places in `sizes` as tasks, in their order, of at most so many bytes and items; what is larger stands alone."""
    tasks: list[list[int]] = []
    size = 0
    for place, more in enumerate(sizes):
        if not tasks or size + more > most_bytes or len(tasks[-1]) >= most:
            tasks.append([])
            size = 0
        tasks[-1].append(place)
        size += more
    return tasks
