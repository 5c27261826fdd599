"""Two hundred drills: whatever a child does, one typed outcome each, and nothing of it is left behind."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ckptui.errors import Blocked, Cancelled, CkptuiError, OutOfMemory, UsageError, WorkerFailed
from ckptui.predict.client import Child
from ckptui.predict.memory import available, resident, size
from ckptui.predict.spawn import FOLDER_PREFIX
from tests.places import ROOT

START = "import sys; sys.path.insert(0, sys.argv[1]); from tests.predict.fake_worker import main; main()"
FAKE = [sys.executable, "-S", "-E", "-c", START, str(ROOT)]
DRILLS = 200
ALLOWED = 96 << 20


@dataclass
class Range:
    """A child under drill and what was seen of it."""

    child: Child
    draw: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    pids: set[int] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    number: int = 0

    def ask(self, op: str, **args: object) -> object:
        """The value of an answer, which must be that of this very request."""
        self.number += 1
        value = f"request {self.number}"
        cancel = args.pop("cancel", None)
        assert cancel is None or isinstance(cancel, threading.Event)
        try:
            answer = self.child.ask(op, {"value": value, **args}, cancel=cancel)
        finally:
            self.seen()
        assert answer.doc["value"] == value, "the answer of another request"
        return answer.doc["value"]

    def seen(self) -> None:
        """Remember the process and its folder."""
        if self.child.pid is not None:
            self.pids.add(self.child.pid)
            self.folders.add(self.child._folder)

    def fails(self, error: type[CkptuiError], words: str, op: str, **args: object) -> None:
        """A request that must end in exactly this error."""
        with pytest.raises(error, match=words) as caught:
            self.ask(op, **args)
        assert type(caught.value) is error
        assert caught.value.detail


def killed(drill: Range) -> None:
    """By a signal while it works, of its own or of somebody else."""
    name = drill.draw.choice(["SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGTERM"])
    if name == "SIGTERM":
        drill.fails(WorkerFailed, "ended with exit code 3", "exit")
    else:
        drill.fails(WorkerFailed, f"was killed by {name}", "signal", signal=int(signal.Signals[name]))


def killed_from_outside(drill: Range) -> None:
    drill.ask("echo")
    pid = drill.child.pid
    assert pid is not None
    threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
    drill.fails(WorkerFailed, "was killed by SIGKILL", "slow", seconds=20)


def killed_between(drill: Range) -> None:
    drill.ask("echo")
    pid = drill.child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # Whether the next request meets a dead child or one that is about to die: an answer or a typed end.
    try:
        drill.ask("echo")
    except WorkerFailed:
        drill.ask("echo")


def out_of_memory(drill: Range) -> None:
    drill.child.memory_limit = ALLOWED
    try:
        drill.fails(OutOfMemory, "it needed more than 96 MB and was killed", "eat")
    finally:
        drill.child.memory_limit = 0


def hanging(drill: Range) -> None:
    drill.ask("echo")
    drill.child.silence = 0.1
    try:
        drill.fails(WorkerFailed, "made no progress", drill.draw.choice(["hang", "half-then-hang"]))
    finally:
        drill.child.silence = 30.0


def printing(drill: Range) -> None:
    """On the protocol's own pipe it is the end; where libraries print it is nothing."""
    if drill.draw.random() < 0.5:
        drill.fails(WorkerFailed, "gave no proper answer", drill.draw.choice(["noise", "garbage", "too-large"]))
    else:
        drill.ask("echo")


def half_a_reply(drill: Range) -> None:
    drill.fails(WorkerFailed, "ended with exit code 0", "half")


def noise(drill: Range) -> None:
    """8 MB: on stderr it is drained, on the protocol's pipe it ends the child at its first bytes."""
    if drill.draw.random() < 0.5:
        drill.ask("flood")
    else:
        drill.fails(WorkerFailed, "gave no proper answer: expected a frame", "loud")


def another_answer(drill: Range) -> None:
    drill.ask("echo")
    drill.fails(WorkerFailed, "it answered request", "late")


def answering_twice(drill: Range) -> None:
    """What is left in the pipe belongs to the request before and must not be taken for the next one's answer."""
    drill.ask("twice")
    try:
        drill.ask("echo")
    except WorkerFailed:
        drill.ask("echo")


class When(threading.Event):
    """A wish to cancel that comes exactly when something holds, however slow the machine is."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__()
        self.holds = holds

    def is_set(self) -> bool:
        return self.holds()


def cancelled(drill: Range, op: str, seconds: float, *, half: bool = False) -> None:
    """Cancelled once it is sent, or with half an answer there: told at once, whatever the child does."""
    looks = iter([False, False])
    begin = time.monotonic()
    # the first look is before anything, the second before the request is sent
    cancel = When(lambda: len(drill.child._buffer._bytes) > 0 if half else next(looks, True))
    drill.fails(Cancelled, "was stopped|waited for another", op, seconds=seconds, cancel=cancel)
    assert time.monotonic() - begin < 10


def cancelled_and_asked_again(drill: Range) -> None:
    """The child ends what it was at; its late answer is nobody's, and it is kept."""
    drill.ask("echo")
    drill.child.grace, before = 20, drill.child.pid
    cancelled(drill, "slow", 0.05)
    if drill.draw.random() < 0.3:
        time.sleep(0.06)
    drill.ask("echo")
    assert drill.child.pid == before


def cancelled_with_half_an_answer(drill: Range) -> None:
    drill.ask("echo")
    drill.child.grace, before = 20, drill.child.pid
    cancelled(drill, "slow-half", 0.2, half=True)
    drill.ask("echo")
    assert drill.child.pid == before


def cancelled_and_not_done(drill: Range) -> None:
    """What takes longer than the grace time is killed, asked again or not."""
    drill.ask("echo")
    drill.child.grace, before = 0.1, drill.child.pid
    cancelled(drill, drill.draw.choice(["slow", "slow-half", "hang", "half-then-hang"]), 20)
    if drill.draw.random() < 0.5:
        assert wait_for(lambda: drill.child.pid is None)
    drill.ask("echo")
    assert drill.child.pid != before


def cancelled_twice(drill: Range) -> None:
    """The second while the child is still at the first."""
    drill.ask("echo")
    drill.child.grace, before = 20, drill.child.pid
    cancelled(drill, "slow", 0.1)
    cancelled(drill, "slow", 0.1)
    drill.ask("echo")
    assert drill.child.pid == before


def cancelled_and_dying(drill: Range) -> None:
    """What the child does to a request nobody waits for is no failure of the next one."""
    drill.ask("echo")
    drill.child.grace = 20
    cancelled(drill, "late-" + drill.draw.choice(["exit", "noise", "wrong-id", "half"]), 0.05)
    drill.ask("echo")


def refused(drill: Range) -> None:
    kind, error = drill.draw.choice(
        [("usage", UsageError), ("blocked", Blocked), ("memory", OutOfMemory), ("whatever", WorkerFailed)]
    )
    before = drill.child.generation
    drill.ask("echo")
    drill.fails(error, r"no\\x1b\[31m", "refuse", kind=kind)
    assert drill.child.generation <= before + 1


def no_network(drill: Range) -> None:
    drill.fails(Blocked, "tried to open a network connection", "signal", signal=int(signal.SIGSYS))


KINDS: list[tuple[Callable[[Range], None], int]] = [
    (killed, 24),
    (killed_from_outside, 12),
    (killed_between, 10),
    (out_of_memory, 10),
    (hanging, 16),
    (printing, 22),
    (half_a_reply, 12),
    (noise, 10),
    (another_answer, 14),
    (answering_twice, 8),
    (cancelled_and_asked_again, 12),
    (cancelled_with_half_an_answer, 8),
    (cancelled_and_not_done, 8),
    (cancelled_twice, 8),
    (cancelled_and_dying, 8),
    (refused, 10),
    (no_network, 8),
]


def alive_or_zombie(pid: int) -> bool:
    """Whether anything of the process is left, a zombie included."""
    return os.path.exists(f"/proc/{pid}")


def wait_for(done: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    return done()


def test_two_hundred_drills_each_end_typed_and_leave_nothing() -> None:
    draw = random.Random(6)
    drills = [kind for kind, count in KINDS for _ in range(count)]
    assert len(drills) == DRILLS
    draw.shuffle(drills)
    warm = Child(FAKE, what="fake worker")
    warm.ask("echo")
    warm.close()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    drill = Range(Child(FAKE, what="fake worker"), draw)
    for run in drills:
        run(drill)
        drill.outcomes[run.__name__] += 1
        drill.seen()
    drill.ask("echo")
    drill.child.close()
    assert wait_for(lambda: not any(alive_or_zombie(pid) for pid in drill.pids)), "a process or a zombie is left"
    assert not [folder for folder in drill.folders if os.path.exists(folder)]
    mine = Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{os.getpid()}-*")
    assert not [folder for folder in mine if str(folder) in drill.folders]
    assert wait_for(lambda: threading.active_count() <= threads), "a thread is left"
    assert wait_for(lambda: len(os.listdir("/proc/self/fd")) <= files), "a descriptor is left"
    told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(drill.outcomes.items()))
    print(f"{sum(drill.outcomes.values())} drills: {told}")
    print(f"{len(drill.pids)} processes, {drill.number} requests; no process, descriptor, thread or folder left")


def test_what_a_process_holds_is_told_in_bytes() -> None:
    child = Child(FAKE, what="fake worker")
    assert child.memory == 0
    child.ask("echo")
    held = child.memory
    assert 4 << 20 < held < 200 << 20
    assert child.pid is not None
    status = Path(f"/proc/{child.pid}/status").read_text()
    told = int(status.split("VmRSS:")[1].split()[0]) << 10
    assert abs(held - told) <= told * 0.1
    child.close()
    assert child.memory == 0
    assert resident(2**22 + 1) == 0


@pytest.mark.parametrize(
    ("meminfo", "most", "used", "left"),
    [
        ("MemTotal: 1 kB\nMemAvailable: 20971520 kB\n", None, None, 18 << 30),
        ("MemAvailable: 20971520 kB\n", str(10 << 30), str(5 << 30), (5 << 30) - (512 << 20)),
        ("MemAvailable: 20971520 kB\n", "max", "1", 18 << 30),
        ("MemAvailable: 1024 kB\n", None, None, 2 << 30),
        ("nothing", None, None, 0),
        ("MemAvailable: many kB\n", None, None, 0),
    ],
)
def test_the_limit_is_what_is_free_less_a_reserve(
    tmp_path: Path, meminfo: str, most: str | None, used: str | None, left: int
) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    if most is not None and used is not None:
        (tmp_path / "memory.max").write_text(most + "\n")
        (tmp_path / "memory.current").write_text(used + "\n")
    assert available(tmp_path, tmp_path) == left


@pytest.mark.parametrize(
    ("told", "folder", "names", "most", "left"),
    [
        ("0::/user/app", "user/app", ("memory.max", "memory.current"), 8 << 30, 7 << 30),
        ("0::/user/app", "user", ("memory.max", "memory.current"), 8 << 30, 7 << 30),
        ("9:cpu:/x\n4:memory:/box", "memory/box", ("memory.limit_in_bytes", "memory.usage_in_bytes"), 8 << 30, 7 << 30),
        ("4:memory:/box", "memory/box", ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2**63 - 4096, 20 << 30),
        ("nonsense", "user", ("memory.max", "memory.current"), 8 << 30, 20 << 30),
    ],
)
def test_the_limit_of_ones_own_control_group_counts(
    tmp_path: Path, told: str, folder: str, names: tuple[str, str], most: int, left: int
) -> None:
    """3 GB are used in there, 2 of them by cached files: 1 GB is taken."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(told + "\n")
    (tmp_path / "meminfo").write_text(f"MemAvailable: {20 << 20} kB\n")
    place = tmp_path / "groups" / folder
    place.mkdir(parents=True)
    (place / names[0]).write_text(f"{most}\n")
    (place / names[1]).write_text(f"{3 << 30}\n")
    (place / "memory.stat").write_text(f"active_file 5\ninactive_file {2 << 30}\n")
    assert available(tmp_path, tmp_path / "groups") == left - max(512 << 20, int(left * 0.1))


@pytest.mark.parametrize(("count", "words"), [(96 << 20, "96 MB"), (1 << 30, "1.0 GB"), (int(3.5 * 2**30), "3.5 GB")])
def test_sizes_read_as_people_say_them(count: int, words: str) -> None:
    assert size(count) == words
