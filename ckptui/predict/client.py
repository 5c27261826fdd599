"""The parent's end: start a child, ask it, and turn every way it can fail into one typed error."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import Blocked, Cancelled, OutOfMemory, WorkerFailed
from ckptui.predict import spawn
from ckptui.predict.memory import available, resident, size
from ckptui.predict.protocol import FrameBuffer, FrameError, Reply, encode, refusal

WORKER = Path(__file__).resolve().parent / "worker"
TICK = 0.02
"""Seconds between two looks at the cancel flag."""
CHUNK = 1 << 18
BLOCKED_HINT = "`ckptui check` names the ops in its graph that reach outside"
TAIL_LINES = 40


class Child:
    """One child process and its pipes; thread-safe, one request at a time, started when first asked.

    A child that dies, hangs, answers another request or something that is no answer is killed; the next request
    starts a new one.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        what: str,
        env: dict[str, str] | None = None,
        silence: float = 30.0,
        nice: int = 0,
        memory: int = 0,
    ) -> None:
        self.command = list(command)
        self.what = what
        """How messages call it."""
        self.silence = silence
        """Seconds without an answer or a heartbeat after which it counts as hung."""
        self.memory_limit = memory
        """Resident bytes over which it is killed while it works; 0: none."""
        self.generation = 0
        """Raised with every start: state inside the child is gone when it changed."""
        self._env = env or {}
        self._nice = nice
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._number = 0
        self._buffer = FrameBuffer()
        self._tail: collections.deque[bytes] = collections.deque(maxlen=TAIL_LINES)
        self._drain: threading.Thread | None = None
        self._spoke = False
        """It sent a frame since it was started."""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def memory(self) -> int:
        """Resident bytes; 0 while it does not run."""
        pid = self.pid
        return resident(pid) if pid is not None else 0

    def start(self) -> None:
        """Start the child unless it runs. Raises WorkerFailed when it can't be started."""
        with self._lock:
            if self.pid is not None:
                return
            self.kill()
            self._folder = spawn.own_folder()
            env = {**os.environ, **self._env, "TMPDIR": self._folder}
            try:
                process = spawn.spawn(self.command, env, self._folder)
            except OSError as error:
                spawn.remove(self._folder)
                reason = f"it can't be started: {self.command[0]}: {error.strerror or error}"
                raise self._failed(reason, "Check that this Python exists and can be run") from error
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
            self._process = process
            self._buffer, self._spoke = FrameBuffer(), False
            self._tail = collections.deque(maxlen=TAIL_LINES)
            self.generation += 1
            self._drain = threading.Thread(target=self._drain_stderr, args=(process, self._tail), daemon=True)
            self._drain.start()
            if self._nice:
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, process.pid, self._nice)

    @staticmethod
    def _drain_stderr(process: subprocess.Popen[bytes], tail: collections.deque[bytes]) -> None:
        """Keep the last lines: a full pipe would stop the child, and the last line often says why it died."""
        assert process.stderr is not None
        line = b""
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(process.stderr.fileno(), 1 << 16):
                *whole, line = (line + data).split(b"\n")
                line = line[-4096:]
                tail.extend(part[:4096] for part in whole if part.strip())
        if line.strip():
            tail.append(line)

    def ask(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        arrays: Sequence[Any] = (),
        *,
        cancel: threading.Event | None = None,
        limit: float = 600.0,
        silence: float | None = None,
    ) -> Reply:
        """Send one request and wait for its answer.

        Raises:
            Cancelled: `cancel` was set; the child was killed, so that no late answer can be taken for another's.
            WorkerFailed: it died, hung (`limit` seconds in all, or `silence` without a heartbeat, the child's own
                when not said), or gave no proper answer; OutOfMemory, Blocked: it needed too much, or tried what it
                may not.
            ModelDoesNotLoad, UsageError: what the child itself said.
        """
        with self._lock:
            if cancel is not None and cancel.is_set():
                raise Cancelled("before it began")
            # Before it is started: what a child says as it dies at once is its own reason.
            self._tail.clear()
            self.start()
            self._number += 1
            begin = time.monotonic()
            try:
                pieces = encode({"id": self._number, "op": op, **(args or {})}, arrays)
                doc, results = self._exchange(pieces, cancel, begin + limit, silence or self.silence)
            except FrameError as error:
                self.kill()
                raise self._failed(f"it gave no proper answer: {safe(str(error))}") from error
            except BaseException:
                self.kill()
                raise
            refused = refusal(doc)
            if refused is not None:
                raise refused
            return Reply(doc, results, time.monotonic() - begin)

    def _exchange(
        self, pieces: list[Any], cancel: threading.Event | None, deadline: float, silence: float
    ) -> tuple[dict[str, Any], list[Any]]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        waiting = collections.deque(memoryview(piece).cast("B") for piece in pieces)
        poll = select.poll()
        poll.register(process.stdout.fileno(), select.POLLIN)
        poll.register(process.stdin.fileno(), select.POLLOUT)
        heard = time.monotonic()
        while True:
            if self._closing.is_set() or (cancel is not None and cancel.is_set()):
                raise Cancelled(f"the {self.what} was stopped")
            events = dict(poll.poll(TICK * 1000))
            now = time.monotonic()
            if events.get(process.stdin.fileno(), 0) and not self._send(process.stdin.fileno(), waiting):
                poll.unregister(process.stdin.fileno())
            if events.get(process.stdout.fileno(), 0):
                heard = now
                self._receive(process.stdout.fileno())
                frame = self._answer()
                if frame is not None:
                    return frame
            self._weigh(process.pid)
            if now > deadline or now - heard > silence:
                waited = f"for {now - heard:.0f} s" if now <= deadline else "in time"
                raise self._failed(f"it made no progress {waited} and was killed{self._last_words()}")

    def _weigh(self, pid: int) -> None:
        """Raise OutOfMemory where the child holds more than it may."""
        if self.memory_limit and resident(pid) > self.memory_limit:
            raise OutOfMemory(
                f"it needed more than {size(self.memory_limit)} and was killed",
                "Free memory, or use a smaller batch or model",
                title=f"{self.what.capitalize()} failed",
            )

    def _send(self, fd: int, waiting: collections.deque[memoryview]) -> bool:
        """Write what the pipe takes; False when all is sent or nobody reads any more."""
        try:
            while waiting:
                sent = os.write(fd, waiting[0][:CHUNK])
                waiting[0] = waiting[0][sent:]
                if not waiting[0].nbytes:
                    waiting.popleft()
        except BlockingIOError:
            return True
        except BrokenPipeError:
            pass
        return False

    def _receive(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not data:
            reason = self._obituary()
            process = self._process
            if process is not None and process.returncode == -signal.SIGSYS:
                raise Blocked("the model tried to open a network connection; ckptui does not let it", BLOCKED_HINT)
            raise self._failed(reason)
        self._buffer.feed(data)

    def _answer(self) -> tuple[dict[str, Any], list[Any]] | None:
        """The answer to the present request, heartbeats swallowed; FrameError for the answer to another."""
        while (frame := self._buffer.take()) is not None:
            if frame[0].get("id") != self._number:
                raise FrameError(f"it answered request {frame[0].get('id')!r} and was asked {self._number}")
            self._spoke = True
            if not frame[0].get("beat"):
                return frame
        return None

    def _failed(self, reason: str, hint: str = "") -> WorkerFailed:
        return WorkerFailed(reason, hint, title=f"{self.what.capitalize()} failed")

    def _obituary(self) -> str:
        """How it died: the signal or exit code, and its last line."""
        process = self._process
        assert process is not None
        try:
            code = process.wait(2)
        except subprocess.TimeoutExpired:
            return f"it closed its pipe{self._last_words()}"
        if code < 0:
            try:
                how = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was killed by signal {-code}"
        else:
            how = f"ended with exit code {code}"
        return f"it {how}{self._last_words()}"

    def _last_words(self) -> str:
        if self._drain is not None:
            self._drain.join(0.5)
        line = self._tail[-1].decode("utf-8", "replace").strip() if self._tail else ""
        return f" ({safe(line, 200)})" if line else ""

    def kill(self) -> None:
        """End the child and everything it started, at once; the next request starts a new one.

        For the thread that asks; others use `close`.
        """
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._drain is not None:
            self._drain.join(1.0)
        if process.stderr is not None and (self._drain is None or not self._drain.is_alive()):
            process.stderr.close()
        spawn.remove(self._folder)

    def close(self) -> None:
        """End the child from any thread; a request under way there ends as Cancelled."""
        self._closing.set()
        with self._lock:
            self.kill()
            self._closing.clear()


class Worker(Child):
    """The prediction worker under some Python: on the CPU unless `gpu`, one model loaded at a time."""

    def __init__(
        self,
        python: str | None = None,
        *,
        gpu: bool = False,
        nice: int = 0,
        silence: float = 60.0,
        command: Sequence[str] | None = None,
        memory: int | None = None,
    ) -> None:
        """`memory`: bytes it may have resident; None: what the machine has free at its start, less a reserve."""
        self.python = python or sys.executable
        self._free = memory is None
        self.holds: object = None
        """A token of what was loaded last, for whoever loads: theirs as long as nobody else's."""
        quiet = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
            "HDF5_USE_FILE_LOCKING": "FALSE",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "CKPTUI_WORKER_GPU": "1" if gpu else "0",
        }
        if not gpu:
            quiet["CUDA_VISIBLE_DEVICES"] = ""
        super().__init__(
            command or [self.python, str(WORKER)],
            what="prediction worker",
            env=quiet,
            silence=silence,
            nice=nice,
            memory=memory or 0,
        )

    def start(self) -> None:
        """As `Child.start`; what it may have resident is settled now."""
        with self._lock:
            if self.pid is None:
                if self._free:
                    self.memory_limit = available()
                self._env["CKPTUI_WORKER_MEMORY"] = str(self.memory_limit)
            super().start()

    def ask(self, op: str, *args: Any, **options: Any) -> Reply:
        """As `Child.ask`. Where loading ends as Blocked in a worker that has run a model, it is tried in a fresh one.

        Once a model has run, any internet socket ends the worker, also that of a library which is imported to load
        the next model and only asks whether there is IPv6.
        """
        before = self.generation
        try:
            return super().ask(op, *args, **options)
        except Blocked:
            if op != "load" or self.generation != before or self.pid is not None:
                raise
            return super().ask(op, *args, **options)

    def hello(self, cancel: threading.Event | None = None) -> dict[str, Any]:
        """Versions of Python, TensorFlow, Keras and numpy in there; imports them when it is the first request.

        Raises WorkerFailed saying whether this program is no Python or dies of TensorFlow; the rest as `ask`.
        """
        before = self.generation
        try:
            return self.ask("hello", cancel=cancel).doc
        except (OutOfMemory, Blocked):
            raise
        except WorkerFailed as error:
            started, refused = self.generation > before, self.pid is not None
            if refused or not started:
                raise
            raise self._not_begun(error.detail) from error

    def _not_begun(self, reason: str) -> WorkerFailed:
        """It ended, or was ended, before it could say which TensorFlow it has."""
        python = safe(self.python)
        if self._spoke:
            hint = f"See what {python} -c 'import tensorflow' says, or name another Python with --tf-python"
            return self._failed(f"`import tensorflow` failed in {python}: {reason}", hint)
        hint = "Name a Python, 3.7 or later, that has TensorFlow: --tf-python PATH"
        return self._failed(f"{python} is no Python that starts the worker: {reason}", hint)
