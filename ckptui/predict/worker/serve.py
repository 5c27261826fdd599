"""The loop: read requests, answer each by its id, beat while busy, go when the client goes."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from typing import Any

from . import cage, frames
from .errors import BUG_HINT, Refused, brief, own_fault
from .ops import Ops

BEAT_SECONDS = 1.0


class Link:
    """The two pipes. Writing is locked: answers and heartbeats come from two threads."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests = requests
        self.replies = replies
        self._lock = threading.Lock()

    def send(self, doc: dict[str, Any], arrays: Any = ()) -> None:
        """Write one frame; ends the process when nobody reads any more."""
        try:
            with self._lock:
                frames.write_frame(self.replies, doc, arrays)
        except BrokenPipeError:
            os._exit(0)


class Beat:
    """Says at once, then once a second, that the request is being worked on."""

    def __init__(self, link: Link, request: int) -> None:
        self._link = link
        self._request = request
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        # Said before the work, so that a crash of TensorFlow's import is told from a program that is no worker.
        self._say()
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            self._say()

    def _say(self) -> None:
        self._link.send({"id": self._request, "beat": True})


def listen(link: Link, inbox: Any) -> None:
    """Read requests until the pipe ends, then end the process at once, whatever it is doing."""
    try:
        while True:
            frame = frames.read_frame(link.requests)
            if frame is None:
                break
            inbox.put(frame)
    finally:
        os._exit(0)


def answer(ops: Ops, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
    """Carry out one request; a failure becomes a document that says what failed."""
    try:
        return ops.run(str(doc.get("op")), doc, arrays)
    except Refused as error:
        return {"error": error.kind, "detail": error.detail, "hint": error.hint, "said": error.said}, ()
    except Exception as error:  # the border: whatever a model's code raises is an answer, not the end
        fault = own_fault(error)
        detail, hint = fault or brief(error), BUG_HINT if fault else ""
        return {"error": "failed", "detail": detail, "hint": hint, "said": []}, ()


def main(requests: int, replies: int) -> None:
    """Serve until the client closes the pipe."""
    gpu = os.environ.get("CKPTUI_WORKER_GPU") == "1"
    memory = int(os.environ.get("CKPTUI_WORKER_MEMORY") or 0)
    ops = Ops(cage.apply(tempfile.gettempdir(), gpu, memory))
    link = Link(requests, replies)
    inbox: Any = queue.Queue()
    threading.Thread(target=listen, args=(link, inbox), daemon=True).start()
    while True:
        doc, arrays = inbox.get()
        request = doc.get("id")
        with Beat(link, request):
            reply, results = answer(ops, doc, arrays)
        link.send(dict(reply, id=request), results)
