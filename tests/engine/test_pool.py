"""The pool: whatever a child does, the caller gets one typed outcome and nothing is left behind."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptui.engine.pool import Event, Pool, twice
from ckptui.errors import (
    Cancelled,
    ChangedWhileReading,
    CkptuiError,
    Damaged,
    NoSuchPath,
    NoSuchTensor,
    ReaderCrashed,
    ReaderFailed,
    ReaderHung,
)
from tests.places import ROOT

DRILLS = "tests.engine.drill_ops"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(size=2, ops_module=DRILLS) as made:
        yield made


def children() -> set[int]:
    """Processes started by this one during the test, zombies included."""
    return all_children() - _BEFORE


_BEFORE: set[int] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    """Children that other tests keep for the whole session are none of ours."""
    _BEFORE.clear()
    _BEFORE.update(all_children())


def all_children() -> set[int]:
    """Processes whose parent is this one, zombies included."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(place.parent.name))
    return found


def test_a_reply_carries_data_and_blobs_and_noise_does_not_disturb_it(pool: Pool) -> None:
    reply = pool.call("echo", {"path": "ä\udcff", "sizes": [0, 3, 255]})
    assert reply.doc == {"path": "ä\udcff", "sizes": [0, 3, 255]}
    assert [bytes(b) for b in reply.blobs] == [b"", b"\3\3\3", b"\xff" * 255]


def test_a_child_is_used_again(pool: Pool) -> None:
    assert pool.call("pid", {}).doc == pool.call("pid", {}).doc


def test_events_come_in_order_before_the_reply(pool: Pool) -> None:
    seen: list[Event] = []
    assert pool.call("events", {"count": 3}, on_event=seen.append).doc == "end"
    assert [(e.kind, e.doc, [bytes(b) for b in e.blobs]) for e in seen] == [
        ("begin", "tensor 0", []),
        ("event", {"n": 0}, [b""]),
        ("begin", "tensor 1", []),
        ("event", {"n": 1}, [b"x"]),
        ("begin", "tensor 2", []),
        ("event", {"n": 2}, [b"xx"]),
    ]


def test_a_large_request_does_not_lock_up_the_pipes(pool: Pool) -> None:
    names = [f"a rather long tensor name {n}" for n in range(100_000)]
    assert pool.call("echo", {"names": names}).doc == {"names": names}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGKILL"])
def test_a_crash_names_the_signal_and_what_was_worked_on(pool: Pool, name: str) -> None:
    with pytest.raises(ReaderCrashed) as caught:
        pool.call("die", {"signal": name, "path": "/x/y.h5"})
    assert str(caught.value).startswith(f"Reader crashed ({name}): in conv1/kernel")
    assert caught.value.item == "conv1/kernel"
    assert caught.value.hint == "last words"
    assert len(caught.value.stderr) == 4096
    assert pool.call("echo", {"a": 1}).doc == {"a": 1}


def test_an_exit_names_its_code(pool: Pool) -> None:
    with pytest.raises(ReaderCrashed, match=r"exit code 3.*in /x/y\.h5"):
        pool.call("leave", {"code": 3, "path": "/x/y.h5"})


@pytest.mark.parametrize("busy", [True, False])
def test_a_hang_is_killed_after_its_time_without_progress(pool: Pool, busy: bool) -> None:
    begun = time.monotonic()
    with pytest.raises(ReaderHung, match="conv2/kernel"):
        pool.call("hang", {"busy": busy}, idle_timeout=0.3)
    # left alone it would sleep for a minute
    assert time.monotonic() - begun < 30
    assert not pool._busy
    assert not children()


def test_noise_on_standard_error_is_no_progress(pool: Pool) -> None:
    with pytest.raises(ReaderHung):
        pool.call("hang_noisily", {}, idle_timeout=0.3)


def test_imports_do_not_count_as_hanging(pool: Pool) -> None:
    assert pool.call("slow_import", {}, idle_timeout=1.2).doc == "done"


def test_progress_keeps_a_long_job_alive(pool: Pool) -> None:
    assert pool.call("events", {"count": 12, "pause": 0.1}, idle_timeout=1.0).doc == "end"


@pytest.mark.parametrize("op", ["garbage", "no_json", "flood", "wrong_id", "unknown_kind"])
def test_what_is_no_answer_is_a_crash(pool: Pool, op: str) -> None:
    with pytest.raises(ReaderCrashed):
        pool.call(op, {}, idle_timeout=8)
    assert not children()


def test_half_a_frame_is_a_hang_or_a_crash(pool: Pool) -> None:
    with pytest.raises(ReaderHung):
        pool.call("half_frame", {}, idle_timeout=0.2)
    with pytest.raises(ReaderCrashed, match="exit code 0"):
        pool.call("half_frame", {"pause": 0}, idle_timeout=8)


def test_a_cancelled_call_never_answers_the_next(pool: Pool) -> None:
    first = pool.call("pid", {}).doc
    cancel = threading.Event()
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        cancel.set()

    with pytest.raises(Cancelled):
        pool.call("events", {"count": 100, "pause": 0.1}, on_event=listener, cancel=cancel)
    assert len(seen) < 50
    assert pool.call("echo", {"mine": 1}).doc == {"mine": 1}
    assert pool.call("pid", {}).doc != first


def test_a_call_cancelled_before_it_begins_starts_nothing(pool: Pool) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        pool.call("echo", {}, cancel=cancel)
    assert not children()


@pytest.mark.parametrize("kind", [NoSuchPath, NoSuchTensor, ChangedWhileReading, ReaderFailed])
def test_errors_come_back_as_the_class_they_were(pool: Pool, kind: type[CkptuiError]) -> None:
    first = pool.call("pid", {}).doc
    with pytest.raises(kind) as caught:
        pool.call("raise", {"class": kind.__name__})
    assert (caught.value.title, caught.value.detail, caught.value.hint) == (kind.title, "it is so", "do that")
    assert pool.call("pid", {}).doc == first


def test_damage_keeps_its_code_and_evidence(pool: Pool) -> None:
    with pytest.raises(Damaged) as caught:
        pool.call("raise", {"class": "Damaged"})
    assert caught.value.code == "zero-filled"
    assert caught.value.evidence == {"offset": 3, "size": "inf"}
    assert caught.value.hint == "copy it again"


def test_an_unexpected_exception_and_a_lack_of_memory_are_errors_not_ends(pool: Pool) -> None:
    first = pool.call("pid", {}).doc
    with pytest.raises(ReaderFailed, match="KeyError"):
        pool.call("raise", {"class": "KeyError"})
    with pytest.raises(ReaderFailed, match="out of memory"):
        pool.call("raise", {"class": "MemoryError"})
    with pytest.raises(ReaderFailed, match="KeyError"):
        pool.call("no such op", {})
    assert pool.call("pid", {}).doc == first


def test_a_crash_is_tried_once_more_and_a_hang_never(pool: Pool) -> None:
    calls = []
    first = pool.call("pid", {}).doc

    def attempt() -> Any:
        calls.append(1)
        return pool.call("die_once", {"pid": first})

    assert twice(attempt).doc == "survived"
    assert len(calls) == 2
    calls.clear()

    def always() -> Any:
        calls.append(1)
        return pool.call("die_once", {"pid": 0})

    with pytest.raises(ReaderCrashed):
        twice(always)
    assert len(calls) == 2
    calls.clear()

    def stuck() -> Any:
        calls.append(1)
        return pool.call("hang", {}, idle_timeout=0.2)

    with pytest.raises(ReaderHung):
        twice(stuck)
    assert len(calls) == 1


def runs(child: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until_it_ended(child: int) -> None:
    deadline = time.monotonic() + 30
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_died_between_calls_is_replaced(pool: Pool) -> None:
    first = pool.call("pid", {}).doc
    os.kill(first, signal.SIGKILL)
    until_it_ended(first)
    assert pool.call("pid", {}).doc != first
    assert len(children()) == 1


def test_more_callers_than_children_wait_their_turn(pool: Pool) -> None:
    answers: list[Any] = []

    def caller(n: int) -> None:
        answers.append(pool.call("echo", {"n": n}).doc["n"])

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(12))
    assert len(children()) <= 3


def test_a_call_from_a_thread_that_ends_leaves_its_child_alive(pool: Pool) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(pool.call("pid", {}).doc))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert pool.call("pid", {}).doc == found[0]


def test_an_exception_in_the_listener_takes_the_child_with_it(pool: Pool) -> None:
    def listener(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.call("events", {"count": 2}, on_event=listener)
    assert not children()


def test_closing_ends_calls_under_way() -> None:
    pool = Pool(size=1, ops_module=DRILLS)
    outcome: list[BaseException] = []

    def caller() -> None:
        try:
            pool.call("hang", {}, idle_timeout=30)
        except CkptuiError as error:
            outcome.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    time.sleep(0.5)
    pool.close()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Cancelled)
    assert not children()
    with pytest.raises(Cancelled):
        pool.call("echo", {})
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
def test_the_limits_hold(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"precious")
    with Pool(size=1, nice=10, ops_module=DRILLS) as pool:
        found = pool.call("try_limits", {"file": str(file)}).doc
        assert pool.limits["memory"]
        assert pool.limits["dies-with-parent"]
        sealed = pool.limits["no-network"]
    assert file.read_bytes() == b"precious"
    assert found["memory"] == "memory"
    assert found["read"] == 0
    assert found["nice"] >= 10
    assert found["group"]
    assert found["stdin"] == ""
    assert found["write"] in (errno.EPERM, errno.EFBIG)
    if sealed:
        for name in ("socket", "write", "truncate", "unlink", "rename", "execute"):
            assert found[name] == errno.EPERM, name
    if os.uname().machine == "x86_64":
        assert found["io"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_die_with_a_killed_parent() -> None:
    script = f"""
        import threading
        from ckptui.engine.pool import Pool
        pool = Pool(size=1, ops_module={DRILLS!r})
        print(pool.call("pid", {{}}).doc, flush=True)
        pool.call("hang", {{"busy": True}}, idle_timeout=60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.1)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until_it_ended(child)


def test_two_hundred_drills_end_in_two_hundred_outcomes() -> None:
    before = len(os.listdir("/proc/self/fd"))
    rng = random.Random(7)
    drills: list[tuple[str, dict[str, Any], tuple[type[BaseException], ...]]] = [
        ("die", {"signal": "SIGKILL"}, (ReaderCrashed,)),
        ("die", {"signal": "SIGSEGV"}, (ReaderCrashed,)),
        ("leave", {"code": 1}, (ReaderCrashed,)),
        ("hang", {}, (ReaderHung,)),
        ("garbage", {}, (ReaderCrashed,)),
        ("flood", {}, (ReaderCrashed,)),
        ("half_frame", {}, (ReaderHung,)),
        ("half_frame", {"pause": 0}, (ReaderCrashed,)),
        ("raise", {"class": "Damaged"}, (Damaged,)),
        ("echo", {"x": 1}, ()),
    ]
    queue = [drills[n % len(drills)] for n in range(200)]
    rng.shuffle(queue)
    outcomes: list[bool] = []
    with Pool(size=3, ops_module=DRILLS) as pool:

        def caller() -> None:
            while True:
                try:
                    op, args, wanted = queue.pop()
                except IndexError:
                    return
                try:
                    # only what is to hang is given little time: a busy machine makes the others wait
                    pool.call(op, args, idle_timeout=0.15 if ReaderHung in wanted else 8)
                    outcomes.append(not wanted)
                except CkptuiError as error:
                    outcomes.append(isinstance(error, wanted))

        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [True] * 200
    assert not children()
    assert len(os.listdir("/proc/self/fd")) == before
