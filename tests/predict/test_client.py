"""The client against a child that does everything wrong: one typed outcome each, and the next request works."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ckptui.errors import Cancelled, CkptuiError, ModelDoesNotLoad, UsageError, WorkerFailed
from ckptui.predict.client import Child, Worker
from ckptui.predict.last_words import last_line
from ckptui.predict.spawn import _folders, environment, own_folder, remove, remove_all
from tests.places import ROOT

FAKE = [sys.executable, "-m", "tests.predict.fake_worker"]


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child(FAKE, what="fake worker", env={"PYTHONPATH": str(ROOT)})
    yield made
    made.close()


def echo(child: Child, value: object = "hello") -> None:
    assert child.ask("echo", {"value": value}).doc["value"] == value


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


FAILURES = [
    ("exit", {}, r"ended with exit code 3 \(giving up for a reason\)"),
    ("signal", {"signal": int(signal.SIGSEGV)}, "was killed by SIGSEGV"),
    ("signal", {"signal": int(signal.SIGKILL)}, "was killed by SIGKILL"),
    ("signal", {"signal": int(signal.SIGABRT)}, "was killed by SIGABRT"),
    ("signal", {"signal": 40}, "was killed by signal 40"),
    ("noise", {}, "gave no proper answer: expected a frame, found b.WARNING: something chatty"),
    ("garbage", {}, "gave no proper answer"),
    ("half", {}, "ended with exit code 0"),
    ("half-then-hang", {}, "Fake worker failed: it made no progress for"),
    ("hang", {}, "made no progress"),
    ("wrong-id", {}, "it answered request 0 and was asked 1"),
    ("too-large", {}, "too large"),
]


@pytest.mark.parametrize(("op", "args", "words"), FAILURES)
def test_each_way_of_failing_is_told_and_the_next_request_works(
    child: Child, op: str, args: dict[str, object], words: str
) -> None:
    if "hang" in op:
        echo(child)
        child.silence = 0.5
    with pytest.raises(WorkerFailed, match=words):
        child.ask(op, args)
    child.silence = 30
    echo(child)


def test_a_closed_pipe_without_death_is_told(child: Child) -> None:
    with pytest.raises(WorkerFailed, match="closed its pipe"):
        child.ask("close")
    echo(child)


def test_a_steady_heartbeat_keeps_a_long_request_alive_until_its_limit(child: Child) -> None:
    echo(child)
    child.silence = 0.5
    begin = time.monotonic()
    with pytest.raises(WorkerFailed, match="made no progress"):
        child.ask("beat-forever", limit=1.5)
    assert 1.4 < time.monotonic() - begin < 30


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("load", ModelDoesNotLoad),
        ("missing", WorkerFailed),
        ("image", UsageError),
        ("input", UsageError),
        ("request", WorkerFailed),
        ("anything", WorkerFailed),
    ],
)
def test_a_refusal_becomes_its_typed_error_with_harmless_words(
    child: Child, kind: str, error: type[CkptuiError]
) -> None:
    with pytest.raises(error, match=r"no\\x1b\[31m") as caught:
        child.ask("refuse", {"kind": kind})
    assert type(caught.value) is error
    assert "\x1b" not in str(caught.value)
    before = child.generation
    echo(child)
    assert child.generation == before, "a refusal is an answer: the child lives on"


def test_noise_on_stdout_and_a_flooded_stderr_disturb_nothing(child: Child) -> None:
    child.ask("flood")
    echo(child)
    assert child.generation == 1


@pytest.mark.parametrize("grace", [0.0, 5.0])
def test_cancel_is_told_at_once_and_a_late_answer_is_never_taken_for_anothers(child: Child, grace: float) -> None:
    child.grace = grace
    cancel = threading.Event()
    pid = child.ask("echo").doc["pid"]
    threading.Timer(0.2, cancel.set).start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        child.ask("slow", {"seconds": 1.5, "value": "of the cancelled request"}, cancel=cancel)
    assert time.monotonic() - begin < 1.2
    assert gone(pid) is not bool(grace)
    assert child.settling is bool(grace)
    echo(child, "of the next request")
    assert (child.pid == pid) is bool(grace)
    assert not child.settling


def test_a_large_request_cancelled_half_way_is_sent_to_its_end(child: Child) -> None:
    """Its child would wait for the rest for ever, or take the next request for it."""
    sent = np.random.default_rng(0).random(2_000_000)
    pid = child.ask("slow", {"seconds": 0}).doc["pid"]
    child.grace = 20
    for after in (0.001, 0.005, 0.01):
        cancel = threading.Event()
        threading.Timer(after, cancel.set).start()
        with contextlib.suppress(Cancelled):
            child.ask("slow", {"seconds": 0.2}, [sent], cancel=cancel)
        assert np.array_equal(child.ask("echo", {}, [sent[:1000]]).arrays[0], sent[:1000])
    assert child.pid == pid


def test_what_nobody_waits_for_is_ended_after_its_grace_time(child: Child) -> None:
    child.grace = 0.3
    pid = child.ask("echo").doc["pid"]
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    with pytest.raises(Cancelled):
        child.ask("slow", {"seconds": 30}, cancel=cancel)
    begin = time.monotonic()
    while not gone(pid):
        assert time.monotonic() - begin < 20
        time.sleep(0.01)
    assert child.pid is None


def test_close_ends_what_was_let_go(child: Child) -> None:
    child.grace = 30
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(Cancelled):
        child.ask("slow", {"seconds": 30}, cancel=cancel)
    pid, begin = child.pid, time.monotonic()
    child.close()
    assert time.monotonic() - begin < 20
    assert pid is not None
    assert gone(pid)


LOGGED = [
    "I0000 00:00:1763820000.123456   12 cuda.cc:1] Could not find cuda drivers on your machine",
    "2026-01-31 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.",
    "2026-01-31 10:00:00.123456: W external/local_tsl/x.cc:1] something usual",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
]


def test_what_tensorflow_logs_is_no_reason() -> None:
    assert last_line([line.encode() for line in LOGGED]) == ""
    reasons = ["F0000 00:00:1763820000.1 x.cc:1] Check failed: a == b", "ImportError: libcublas", "I gave up"]
    for reason in reasons:
        lines = [line.encode() for line in (reason, *LOGGED)]
        assert last_line(lines) == f" ({reason})"


def test_the_fatal_line_is_told_and_not_the_addresses_after_it() -> None:
    fatal = "F0000 00:00:1763820000.1 x.cc:1] Check failed: a == b"
    stack = ["*** Check failure stack trace: ***", "    @     0x7f477cea71f5  (unknown)", "    @     0x55e0  main"]
    assert last_line([line.encode() for line in (fatal, *stack)]) == f" ({fatal})"


def test_a_child_is_not_given_what_opens_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = ["HF_TOKEN", "aws_secret_access_key", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "SSH_AUTH_SOCK", "PGPASSWORD"]
    kept = ["LD_LIBRARY_PATH", "PYTHONPATH", "KERAS_HOME", "TF_USE_LEGACY_KERAS"]
    for name in doors + kept:
        monkeypatch.setenv(name, "x")
    given = environment({"TMPDIR": "/own", "OWN_TOKEN": "1"})
    assert not given.keys() & set(doors)
    assert {name: given[name] for name in kept} == dict.fromkeys(kept, "x")
    assert (given["TMPDIR"], given["OWN_TOKEN"]) == ("/own", "1")


def test_what_an_interrupted_end_leaves_behind_is_removed_at_the_end_of_the_process() -> None:
    other = own_folder()
    remove(other)
    left = own_folder()
    (Path(left) / "file").write_text("x")
    mine = {folder for folder in _folders if folder != left}
    _folders.difference_update(mine)
    remove_all()
    _folders.update(mine)
    assert not os.path.exists(left)
    assert not {left, other} & _folders


def test_a_kill_from_outside_blames_nobody(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{LOGGED[0]}' >&2\nkill -9 $$\n")
    program.chmod(0o755)
    worker = Worker(str(program))
    with pytest.raises(WorkerFailed) as caught:
        worker.hello()
    assert caught.value.detail == f"it was killed by SIGKILL, as {program} imported TensorFlow"
    assert "lack of memory: see `dmesg`" in caught.value.hint
    worker.close()


def test_a_stopped_child_is_ended_by_its_silence_and_said_to_be_stopped(child: Child) -> None:
    """Its heartbeats stop with it; the limit of the request is far away."""
    pid = child.ask("echo").doc["pid"]
    child.silence = 0.6
    threading.Timer(0.3, os.kill, (pid, signal.SIGSTOP)).start()
    begin = time.monotonic()
    with pytest.raises(WorkerFailed, match="it was stopped, made no progress for 1 s and was killed") as caught:
        child.ask("beat-forever", limit=600)
    assert 0.8 < time.monotonic() - begin < 60
    assert "SIGSTOP" in caught.value.hint
    assert gone(pid)
    echo(child)


def test_a_request_cancelled_before_it_began_starts_nothing(child: Child) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        child.ask("echo", cancel=cancel)
    assert child.pid is None


def test_arrays_larger_than_any_pipe_go_there_and_back(child: Child) -> None:
    sent = np.random.default_rng(0).random((1000, 500))
    reply = child.ask("echo", {"value": 1}, [sent, np.zeros(0, np.int8)])
    assert np.array_equal(reply.arrays[0], sent)
    assert reply.arrays[1].shape == (0,)


def test_a_child_that_dies_while_a_large_request_is_sent_is_told(child: Child) -> None:
    with pytest.raises(WorkerFailed, match="exit code 3"):
        child.ask("exit", {}, [np.zeros(3_000_000)])
    echo(child)


def test_a_child_killed_between_requests_is_started_again(child: Child) -> None:
    pid = int(child.ask("echo").doc["pid"])
    os.kill(pid, signal.SIGKILL)
    while not gone(pid):
        time.sleep(0.01)
    echo(child)
    assert child.generation == 2


def test_requests_from_many_threads_each_get_their_own_answer(child: Child) -> None:
    wrong: list[object] = []

    def asker(start: int) -> None:
        for value in range(start, start + 10):
            if child.ask("echo", {"value": value}).doc["value"] != value:
                wrong.append(value)

    threads = [threading.Thread(target=asker, args=(100 * n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_child_outlives_the_thread_that_first_asked(child: Child) -> None:
    thread = threading.Thread(target=echo, args=(child,))
    thread.start()
    thread.join()
    time.sleep(0.1)
    echo(child)
    assert child.generation == 1


def test_close_from_another_thread_ends_a_request_as_cancelled(child: Child) -> None:
    threading.Timer(0.3, child.close).start()
    with pytest.raises(Cancelled):
        child.ask("slow", {"seconds": 30})
    assert child.pid is None


def test_a_python_that_is_not_there_is_one_plain_error() -> None:
    worker = Worker("/nowhere/bin/python")
    with pytest.raises(
        WorkerFailed, match="Prediction worker failed: it can't be started: /nowhere/bin/python: No such file"
    ):
        worker.hello()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("exit 0", "it ended with exit code 0"),
        ("echo no such module >&2; exit 1", r"it ended with exit code 1 \(no such module\)"),
        ("echo chatter; cat >/dev/null", "it gave no proper answer: expected a frame"),
    ],
)
def test_a_python_that_is_no_python_is_told_as_such_with_what_it_did(tmp_path: Path, source: str, words: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{source}\n")
    program.chmod(0o755)
    worker = Worker(str(program))
    with pytest.raises(WorkerFailed, match=f"{program} is no Python that starts the worker: {words}") as caught:
        worker.hello()
    assert "--tf-python" in caught.value.hint
    worker.close()
