"""Many items on several children: one bad item costs itself and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ckptui.engine.items import Done, Outcome, run_items
from ckptui.engine.pool import Pool
from ckptui.errors import CkptuiError, Damaged, ReaderCrashed, ReaderFailed, ReaderHung


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(size=2, ops_module="tests.engine.drill_ops") as made:
        yield made


def run(pool: Pool, items: Sequence[str], tasks: Sequence[Sequence[int]] | None = None, **args: Any) -> dict[str, Any]:
    """Name to result or error; every name exactly once."""
    found: dict[str, Any] = {}
    chosen = [list(range(len(items)))] if tasks is None else tasks
    for outcome in run_items(pool, "work", args, items, chosen, idle_timeout=0.4):
        if isinstance(outcome, Outcome):
            assert items[outcome.key] not in found
            found[items[outcome.key]] = outcome.doc if outcome.error is None else outcome.error
    return found


def test_every_item_has_its_result(pool: Pool) -> None:
    names = [f"n{i}" for i in range(200)]
    found = run(pool, names, [range(0, 50), range(50, 60), range(60, 200)])
    assert found == {name: name.upper() for name in names}


def test_bytes_done_add_up(pool: Pool) -> None:
    names = [f"n{i}" for i in range(50)]
    done = [d for d in run_items(pool, "work", {}, names, [range(25), range(25, 50)]) if isinstance(d, Done)]
    assert sum(d.bytes for d in done) == 500


def test_an_error_belongs_to_its_item(pool: Pool) -> None:
    found = run(pool, ["a", "fail", "b", "memory", "c"])
    assert isinstance(found.pop("fail"), Damaged)
    assert isinstance(found.pop("memory"), ReaderFailed)
    assert found == {"a": "A", "b": "B", "c": "C"}


@pytest.mark.parametrize("crash", ["crash", "crash heavy"])
def test_a_crash_costs_one_item(pool: Pool, crash: str) -> None:
    found = run(pool, ["a", "b heavy", crash, "c", "d"])
    error = found.pop(crash)
    assert isinstance(error, ReaderCrashed)
    assert error.item == crash
    assert found == {"a": "A", "b heavy": "B HEAVY", "c": "C", "d": "D"}


def test_several_crashes_cost_as_many_items(pool: Pool) -> None:
    names = ["crash 1", "a", "crash 2 heavy", "b", "crash 3"]
    found = run(pool, names, [[0, 1], [2, 3, 4]])
    assert {name for name, value in found.items() if isinstance(value, ReaderCrashed)} == {
        names[0],
        names[2],
        names[4],
    }
    assert (found["a"], found["b"]) == ("A", "B")


def test_a_crash_that_does_not_come_again_costs_nothing(pool: Pool) -> None:
    assert run(pool, ["a", "flaky", "b"]) == {"a": "A", "flaky": "FLAKY", "b": "B"}


def test_a_hang_is_not_tried_again(pool: Pool) -> None:
    begun = time.monotonic()
    found = run(pool, ["a", "hang heavy", "b"])
    assert isinstance(found.pop("hang heavy"), ReaderHung)
    assert found == {"a": "A", "b": "B"}
    assert time.monotonic() - begun < 30


def test_a_hang_that_was_not_announced_is_found_by_a_second_careful_look(pool: Pool) -> None:
    found = run(pool, ["a", "hang", "b"])
    assert isinstance(found.pop("hang"), ReaderHung)
    assert found == {"a": "A", "b": "B"}


def test_a_crash_before_any_item_is_tried_once_more_and_then_raised(pool: Pool) -> None:
    with pytest.raises(ReaderCrashed):
        run(pool, ["a", "b"], broken=True)


def test_results_that_are_none_are_crashes_and_missing_ones_errors(pool: Pool) -> None:
    with pytest.raises(CkptuiError):
        run(pool, ["a"], [[0]], lie=True, broken=True)
    found = run(pool, ["a", "b"], lazy=True)
    assert all(isinstance(value, ReaderFailed) for value in found.values())
    assert len(found) == 2


def test_an_answer_for_an_item_that_was_not_asked_for_is_refused(pool: Pool) -> None:
    assert run(pool, ["a"], lie=True) == {"a": "A"}


def test_a_consumer_that_stops_early_leaves_no_thread_and_no_child_busy(pool: Pool) -> None:
    threads = threading.active_count()
    stream = run_items(pool, "work", {}, ["a heavy", "hang heavy", "b"], [[0, 1], [2]], idle_timeout=20)
    next(stream)
    begun = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 10
    assert threading.active_count() == threads
    assert not pool._busy


def test_cancelling_ends_the_stream_soon(pool: Pool) -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    begun = time.monotonic()
    found = list(run_items(pool, "work", {}, ["hang heavy", "hang too"], [[0], [1]], cancel=cancel, idle_timeout=20))
    assert time.monotonic() - begun < 10
    assert not any(isinstance(item, Outcome) for item in found)


def test_nothing_to_do_is_done_at_once(pool: Pool) -> None:
    assert list(run_items(pool, "work", {}, [], [])) == []
