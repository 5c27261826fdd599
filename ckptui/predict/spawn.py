"""Start children from one thread that lives as long as the process.

A child that asks to die with its parent (PR_SET_PDEATHSIG) dies with the *thread* that started it, prctl(2): a
worker started from a pool thread of the screen would be killed when that thread ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_lock = threading.Lock()
_starter: threading.Thread | None = None
_pid = 0
_folders: set[str] = set()
"""Of children that are not removed yet."""
FOLDER_PREFIX = "ckptui-worker-"
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_SOCK", re.IGNORECASE)
"""In names of environment variables: a child reaches no service it would need them for, and a model reads them."""


def _serve() -> None:
    while True:
        _orders.get()()


def spawn(command: Sequence[str], env: Mapping[str, str], folder: str) -> subprocess.Popen[bytes]:
    """A child with three pipes, in `folder`, in its own process group. Raises OSError like Popen."""
    global _starter, _pid
    outcome: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

    def order() -> None:
        pipe = subprocess.PIPE
        extra: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "start_new_session": True}
        try:
            outcome.put(subprocess.Popen(list(command), env=dict(env), cwd=folder, bufsize=0, **extra))
        except OSError as error:
            outcome.put(error)

    with _lock:
        if _starter is None or _pid != os.getpid():
            _starter, _pid = threading.Thread(target=_serve, name="ckptui-starter", daemon=True), os.getpid()
            _starter.start()
    _orders.put(order)
    result = outcome.get()
    if isinstance(result, OSError):
        raise result
    return result


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """What a child gets to see of this process's environment, and `added`."""
    return {**{name: value for name, value in os.environ.items() if not SECRET.search(name)}, **added}


def own_folder() -> str:
    """A fresh temporary folder for one child; those of ckptui processes that no longer run are removed."""
    place = Path(tempfile.gettempdir())
    for old in place.glob(FOLDER_PREFIX + "*"):
        owner = old.name[len(FOLDER_PREFIX) :].split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove(str(old))
    made = tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")
    _folders.add(made)
    return made


def remove(folder: str) -> None:
    """Remove a child's folder with all in it, as far as that is allowed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


@atexit.register
def remove_all() -> None:
    """Remove what is left: a second Ctrl+C may come between a child's end and the removal of its folder."""
    mine = f"{FOLDER_PREFIX}{os.getpid()}-"
    for folder in list(_folders):
        if os.path.basename(folder).startswith(mine):
            remove(folder)
