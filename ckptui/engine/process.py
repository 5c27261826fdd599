"""One reader child as its parent sees it: started, asked, watched, killed, reaped."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ckptui import errors
from ckptui.engine.frames import BadFrame, Blob, Decoder, Frame, encode
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed, ReaderFailed, ReaderHung

ADDRESS_SPACE = 2 << 30
"""Bytes of address space of a child; numpy and h5py with one thread take 0.3 GB of it."""
STARTUP_TIMEOUT = 30.0
"""Seconds in which a child must be up, its imports done: a cold disk may take long, a file has no part in it."""
STARVED_FACTOR = 10
"""A child that wants to run and is not let gets this many times its idle time."""
_SLICE = 0.05
"""Seconds between two looks at the cancel event."""
_STDERR_TAIL = 4096
_PIPE_SIZE = 1 << 20
_ROOT = Path(__file__).resolve().parents[2]


class Flag(Protocol):
    """What tells that a request was taken back; a threading.Event is one."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Event:
    """What a child says while it works."""

    kind: str
    """`begin` (doc: the item worked on now) or `event` (a part of the answer, or progress)."""
    doc: Any
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of a request that went well."""

    doc: Any
    blobs: tuple[Blob, ...] = ()


EventHandler = Callable[[Event], None]

_orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_starter_lock = threading.Lock()
_starter: tuple[int, threading.Thread] | None = None


def _serve_orders() -> None:
    while True:
        _orders.get()()


def _popen(command: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lives on: PR_SET_PDEATHSIG acts when the starting *thread* ends."""
    global _starter
    outcome: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

    def order() -> None:
        pipe = subprocess.PIPE
        try:
            outcome.put(subprocess.Popen(command, env=env, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe))
        except OSError as error:
            outcome.put(error)

    with _starter_lock:
        if _starter is None or _starter[0] != os.getpid():
            thread = threading.Thread(target=_serve_orders, name="ckptui-readers", daemon=True)
            _starter = os.getpid(), thread
            thread.start()
    _orders.put(order)
    result = outcome.get()
    if isinstance(result, OSError):
        raise ReaderFailed(f"can't start a process: {result}")
    return result


def _environment() -> dict[str, str]:
    """A small environment: one thread per library, no HDF5 plugins, no locks, nothing that changes Python."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LD_LIBRARY_PATH", "TZ") if k in os.environ}
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    fixed = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE", "LC_ALL": "C.UTF-8"}
    return {**kept, **dict.fromkeys(threads, "1"), **fixed}


class ReaderProcess:
    """A child that answers one request at a time. Not thread-safe; the pool hands it to one caller at a time."""

    def __init__(self, ops_module: str, nice: int, address_space: int) -> None:
        """Start the child without waiting for it. Raises ReaderFailed where no process can be started."""
        options = {
            "path": [str(_ROOT), *(p for p in sys.path if p and os.path.isabs(p))],
            "ops": ops_module,
            "nice": nice,
            "address_space": address_space,
            "parent": os.getpid(),
        }
        script = str(Path(__file__).with_name("child.py"))
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", script, json.dumps(options)]
        self._process = _popen(command, _environment())
        process = self._process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.pid = process.pid
        self.limits: dict[str, bool] = {}
        """Which limits hold, by name; known once the child has said hello."""
        self._in, self._out, self._err = (
            process.stdin.fileno(),
            process.stdout.fileno(),
            process.stderr.fileno(),
        )
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._decoder = Decoder()
        self._stderr = b""
        self._number = 0
        self._item = ""

    @property
    def alive(self) -> bool:
        """False once the child has ended by itself or was killed."""
        return self._process.poll() is None

    def request(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        cancel: Flag | None,
        on_event: EventHandler | None,
        idle_timeout: float,
    ) -> Reply | CkptuiError:
        """Ask, and wait for the answer; an error that the child reports is returned, the child stays usable.

        Raises:
            ReaderCrashed, ReaderHung, Cancelled: the child must be killed now.
        """
        self._number += 1
        self._item = ""
        message = {"id": self._number, "op": op, "args": args}
        outgoing = b"".join(bytes(piece) for piece in encode(message))
        watch = _Watch(self.pid, idle_timeout)
        pending = memoryview(outgoing)
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{op} of {_subject(args)}")
            ready = self._poll(bool(pending))
            if self._in in ready and pending:
                pending = pending[self._send(pending) :]
            if self._err in ready:
                self._drain()
            if self._out in ready:
                for frame in self._receive(args):
                    watch.alive()
                    answer = self._take(frame, watch, on_event)
                    if answer is not None:
                        return answer
            elif watch.expired():
                what = self._item or _subject(args)
                raise ReaderHung(f"no progress for {watch.patience:g} s in {what}", item=self._item, stderr=self.stderr)

    def stop(self) -> None:
        """Kill the child from another thread; whoever waits for its answer sees the end of its pipe."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def kill(self) -> bool:
        """End the child at once and close its pipes; False if the kernel holds on to it (it is reaped later)."""
        with contextlib.suppress(OSError):
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return self.reap(0.3)

    def reap(self, seconds: float) -> bool:
        """Wait for the end of a killed child; True when it is gone."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def stderr(self) -> str:
        """The last 4 kB the child wrote to its standard error."""
        return self._stderr.decode("utf-8", "backslashreplace")

    # ------------------------------------------------------------------ pipes

    def _poll(self, sending: bool) -> set[int]:
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        poll.register(self._err, select.POLLIN)
        if sending:
            poll.register(self._in, select.POLLOUT)
        ready = {fd for fd, _ in poll.poll(_SLICE * 1000)}
        if ready == {self._err} and self._stderr_closed():
            # a closed standard error alone is always ready; it must not make this a busy loop
            time.sleep(_SLICE)
        return ready

    def _stderr_closed(self) -> bool:
        poll = select.poll()
        poll.register(self._err, select.POLLIN)
        return any(not mask & select.POLLIN for _, mask in poll.poll(0))

    def _send(self, data: memoryview) -> int:
        try:
            return os.write(self._in, data[:_PIPE_SIZE])
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return 0
            # the child is gone; reading its end says how
            return len(data)

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._err, 1 << 16):
                self._stderr = (self._stderr + data)[-_STDERR_TAIL:]

    def _receive(self, args: Mapping[str, Any]) -> list[Frame]:
        """The frames that what is readable now completes."""
        try:
            data = os.read(self._out, max(self._decoder.wanted, 1 << 16))
        except BlockingIOError:
            return []
        if not data:
            raise self._crashed(args)
        try:
            return self._decoder.feed(data)
        except BadFrame as error:
            raise ReaderCrashed(f"sent {error}", item=self._item, stderr=self.stderr) from None

    def _take(self, frame: Frame, watch: _Watch, on_event: EventHandler | None) -> Reply | CkptuiError | None:
        header = frame.header
        kind, doc = header.get("type"), header.get("doc")
        if header.get("id") == 0 and kind == "hello" and isinstance(doc, dict):
            self.limits = {str(name): held is True for name, held in doc.items()}
            return None
        if header.get("id") != self._number:
            raise self._nonsense("answered another request")
        if kind == "started":
            watch.started()
        elif kind in ("begin", "event"):
            if kind == "begin":
                self._item = str(doc)
            if on_event is not None:
                on_event(Event(kind, doc, frame.blobs))
        elif kind == "reply":
            return Reply(doc, frame.blobs)
        elif kind == "error" and isinstance(doc, dict):
            return reported_error(doc)
        else:
            raise self._nonsense("sent something that is no answer")
        return None

    def _nonsense(self, what: str) -> ReaderCrashed:
        return ReaderCrashed(what, item=self._item, stderr=self.stderr)

    def _crashed(self, args: Mapping[str, Any]) -> ReaderCrashed:
        """What an ended pipe means: which signal or exit code, while working on what."""
        try:
            code: int | None = self._process.wait(1)
        except subprocess.TimeoutExpired:
            code = None
        self._drain()
        how = "closed its pipe" if code is None else _how(code)
        what = self._item or _subject(args)
        last = self.stderr.strip().rsplit("\n", 1)[-1]
        return ReaderCrashed(f"in {what}", last, title=f"Reader crashed ({how})", item=self._item, stderr=self.stderr)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _subject(args: Mapping[str, Any]) -> str:
    return str(args.get("name") or args.get("path") or "its request")


def reported_error(doc: Mapping[str, Any]) -> CkptuiError:
    """The error a child reported, as an instance of the same class; ReaderFailed for a class there is not."""
    kind = getattr(errors, str(doc.get("class")), None)
    detail, hint = str(doc.get("detail") or ""), str(doc.get("hint") or "")
    if not (isinstance(kind, type) and issubclass(kind, CkptuiError)):
        kind = ReaderFailed
    error: CkptuiError
    if issubclass(kind, errors.Damaged):
        evidence = doc.get("evidence")
        code = str(doc.get("code") or "entry-invalid")
        error = kind(detail, code=code, evidence=evidence if isinstance(evidence, dict) else {}, hint=hint)
    else:
        error = kind(detail, hint)
    if isinstance(doc.get("title"), str):
        error.title = doc["title"]
    return error


class _Watch:
    """Tells a child that hangs from one that is starting or kept from running.

    Time counts in slices of at most a quarter second, so that a stopped or suspended parent accuses no one.
    """

    def __init__(self, pid: int, idle_timeout: float) -> None:
        self._pid = pid
        self._idle_timeout = idle_timeout
        self.patience = max(STARTUP_TIMEOUT, idle_timeout)
        self._idle = 0.0
        self._seen = time.monotonic()
        self._cpu = _cpu_seconds(pid)[0]

    def started(self) -> None:
        """The imports are done: from now on the file is to blame."""
        self.patience = self._idle_timeout
        self.alive()

    def alive(self) -> None:
        """A frame arrived."""
        if self._idle:
            self._cpu = _cpu_seconds(self._pid)[0]
        self._idle = 0.0
        self._seen = time.monotonic()

    def expired(self) -> bool:
        """Has the child made no progress for too long, though it could have?"""
        now = time.monotonic()
        self._idle += min(now - self._seen, 0.25)
        self._seen = now
        if self._idle < self.patience:
            return False
        cpu, runnable = _cpu_seconds(self._pid)
        # one that runs without end uses nearly all of its time; beside two others a third of it is no sign
        starved = runnable and cpu - self._cpu < 0.8 * self.patience
        return not starved or self._idle >= STARVED_FACTOR * self.patience


def _cpu_seconds(pid: int) -> tuple[float, bool]:
    """CPU time a process has used, and whether it wants the CPU now; (0, False) where the system doesn't say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == "R"
    except (OSError, ValueError, IndexError):
        return 0.0, False
