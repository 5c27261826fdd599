"""The parent's end of a child: start it, ask it, and turn every way it can fail into one typed error."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import Blocked, Cancelled, CkptuiError, OutOfMemory, WorkerFailed
from ckptui.predict import spawn
from ckptui.predict.last_words import KILLED_HINT, STOPPED_HINT, ending, last_line, stopped
from ckptui.predict.memory import resident, size
from ckptui.predict.protocol import FrameBuffer, FrameError, Reply, encode, refusal

TICK = 0.02
"""Seconds between two looks at the cancel flag."""
CHUNK = 1 << 18
BLOCKED_HINT = "`ckptui check` names the ops in its graph that reach outside"
TAIL_LINES = 40
GRACE = 1.0
"""Seconds that a request which was let go may still take, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request under way."""

    number: int
    waiting: collections.deque[memoryview]
    """What of it is not sent yet."""
    deadline: float
    silence: float


class Child:
    """One child process and its pipes; thread-safe, one request at a time, started when first asked.

    A child that dies, hangs, answers another request or something that is no answer is killed; the next request
    starts a new one. A request that is cancelled is let go: its asker gets Cancelled at once, the child has `grace`
    seconds to end it, and its late answer is dropped before the next request is sent. After that it is killed.
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
        grace: float = GRACE,
    ) -> None:
        self.command = list(command)
        self.what = what
        """How messages call it."""
        self.silence = silence
        """Seconds without an answer or a heartbeat after which it counts as hung."""
        self.memory_limit = memory
        """Resident bytes over which it is killed while it works; 0: none."""
        self.grace = grace
        """Seconds that a request which was let go may still take; 0: the child is killed at once."""
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
        self._left: _Exchange | None = None
        """A request that was let go and is not answered yet."""
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

    @property
    def settling(self) -> bool:
        """It still works on a request that was let go."""
        return self._left is not None and self.pid is not None

    def start(self) -> None:
        """Start the child unless it runs. Raises WorkerFailed when it can't be started."""
        with self._lock:
            if self.pid is not None:
                return
            self.kill()
            self._folder = spawn.own_folder()
            env = spawn.environment({**self._env, "TMPDIR": self._folder})
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
        grace: float | None = None,
    ) -> Reply:
        """Send one request and wait for its answer.

        `silence` and `grace` are the child's own where they are not said.

        Raises:
            Cancelled: `cancel` was set. No late answer is ever taken for another's.
            WorkerFailed: it died, hung (`limit` seconds in all, or `silence` without a heartbeat), or gave no proper
                answer; OutOfMemory, Blocked: it needed too much, or tried what it may not.
            ModelDoesNotLoad, UsageError: what the child itself said.
        """
        with self._turn(cancel):
            self._settle(cancel)
            # Before it is started: what a child says as it dies at once is its own reason.
            self._tail.clear()
            self.start()
            self._number += 1
            begin = time.monotonic()
            try:
                pieces = encode({"id": self._number, "op": op, **(args or {})}, arrays)
                waiting = collections.deque(memoryview(piece).cast("B") for piece in pieces)
                exchange = _Exchange(self._number, waiting, begin + limit, silence or self.silence)
                whole = sum(piece.nbytes for piece in waiting)
                doc, results = self._exchange(exchange, cancel)
            except FrameError as error:
                self.kill()
                raise self._failed(f"it gave no proper answer: {safe(str(error))}") from error
            except Cancelled:
                if sum(piece.nbytes for piece in waiting) < whole:
                    self._let_go(exchange, self.grace if grace is None else grace)
                raise
            except BaseException:
                # a request left by Ctrl+C or a fault may be half sent: nothing that follows could be told from it
                self.kill()
                raise
            refused = refusal(doc)
            if refused is not None:
                raise refused
            return Reply(doc, results, time.monotonic() - begin)

    @contextlib.contextmanager
    def _turn(self, cancel: threading.Event | None) -> Iterator[None]:
        """Hold the child; waiting for others to be done with it can be cancelled."""
        while not self._lock.acquire(timeout=TICK):
            if cancel is not None and cancel.is_set():
                raise Cancelled("it waited for another request")
        try:
            if cancel is not None and cancel.is_set():
                raise Cancelled("before it began")
            yield
        finally:
            self._lock.release()

    def _let_go(self, exchange: _Exchange, grace: float) -> None:
        """Nobody waits for this answer any more: it is read and dropped by a thread, or the child is killed."""
        if grace <= 0 or self._closing.is_set():
            self.kill()
            return
        left = self._left = replace(exchange, deadline=min(exchange.deadline, time.monotonic() + grace))

        def settle() -> None:
            with self._lock, contextlib.suppress(Cancelled):
                if self._left is left:
                    self._settle(None)

        threading.Thread(target=settle, name="ckptui-settle", daemon=True).start()

    def _settle(self, cancel: threading.Event | None) -> None:
        """See a request that was let go to its end, or the child to its own. Raises Cancelled alone."""
        if self._left is None:
            return
        try:
            if self.pid is not None:
                self._exchange(self._left, cancel)
        except Cancelled:
            if self._closing.is_set():
                self.kill()
            raise
        except (CkptuiError, FrameError):
            # Whatever became of it, nobody asks for it any more.
            self.kill()
        self._left = None

    def _exchange(self, exchange: _Exchange, cancel: threading.Event | None) -> tuple[dict[str, Any], list[Any]]:
        """Send what is left of a request and read until its answer. Cancelled leaves all as it is."""
        process, waiting = self._process, exchange.waiting
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
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
            frame = self._answer(exchange.number)
            if frame is not None:
                return frame
            self._weigh(process.pid)
            if now > exchange.deadline or now - heard > exchange.silence:
                waited = f"for {now - heard:.0f} s" if now <= exchange.deadline else "in time"
                if stopped(process.pid):
                    raise self._failed(f"it was stopped, made no progress {waited} and was killed", STOPPED_HINT)
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
            code = self._process.returncode if self._process is not None else None
            if code == -signal.SIGSYS:
                raise Blocked("the model tried to open a network connection; ckptui does not let it", BLOCKED_HINT)
            raise self._failed(reason, KILLED_HINT if code == -signal.SIGKILL else "")
        self._buffer.feed(data)

    def _answer(self, number: int) -> tuple[dict[str, Any], list[Any]] | None:
        """The answer to the request of that number, heartbeats swallowed; FrameError for the answer to another."""
        while (frame := self._buffer.take()) is not None:
            if frame[0].get("id") != number:
                raise FrameError(f"it answered request {frame[0].get('id')!r} and was asked {number}")
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
        # SIGKILL leaves nobody a last word: what was said before has nothing to do with it.
        return f"it {ending(code)}{'' if code == -signal.SIGKILL else self._last_words()}"

    def _last_words(self) -> str:
        if self._drain is not None:
            self._drain.join(0.5)
        return last_line(self._tail)

    def kill(self) -> None:
        """End the child and everything it started, at once; the next request starts a new one.

        For the thread that asks; others use `close`.
        """
        process, self._process, self._left = self._process, None, None
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
