"""The prediction worker as the parent sees it: a child under some Python that imports TensorFlow."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import Blocked, OutOfMemory, WorkerFailed
from ckptui.predict.child import Child
from ckptui.predict.memory import available
from ckptui.predict.protocol import Reply

__all__ = ["WORKER", "Child", "Worker"]

WORKER = Path(__file__).resolve().parent / "worker"
CALL_GRACE = 5.0
"""Seconds that a call or a load which was cancelled may go on: about what it takes to start a worker anew."""
START_GRACE = 60.0
"""Seconds that TensorFlow's import may go on when nobody waits for it: whoever asks next needs it too."""


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
        grace: float = CALL_GRACE,
    ) -> None:
        """`memory`: bytes it may have resident; None: what the machine has free at its start, less a reserve."""
        # a child starts in a folder of its own: what is named from here has to be found from there
        self.python = (os.path.abspath(python) if os.path.dirname(python) else python) if python else sys.executable
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
            grace=grace,
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
            return self.ask("hello", cancel=cancel, grace=START_GRACE).doc
        except (OutOfMemory, Blocked):
            raise
        except WorkerFailed as error:
            started, refused = self.generation > before, self.pid is not None
            if refused or not started:
                raise
            raise self._not_begun(error.detail, error.hint) from error

    def _not_begun(self, reason: str, hint: str) -> WorkerFailed:
        """It ended, or was ended, before it could say which TensorFlow it has; a hint there is blames neither."""
        python = safe(self.python)
        if hint:
            return self._failed(f"{reason}, as {python} imported TensorFlow", hint)
        if self._spoke:
            hint = f"See what {python} -c 'import tensorflow' says, or name another Python with --tf-python"
            return self._failed(f"`import tensorflow` failed in {python}: {reason}", hint)
        hint = "Name a Python, 3.7 or later, that has TensorFlow: --tf-python PATH"
        return self._failed(f"{python} is no Python that starts the worker: {reason}", hint)
