"""The reader child: reads requests from its standard input, answers on its standard output, and limits itself.

Run by path, so that it starts under `python -I -S` with nothing but the standard library; readers and numpy are
imported when a request needs them. Prints of libraries go to standard error: both pipes are taken away before
anything else is imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptui.engine.frames import Blob, Frame


class Call:
    """One request under way: what its op may say before it answers."""

    def __init__(self, replies: int, number: int) -> None:
        self._replies = replies
        self._number = number

    def send(self, kind: str, doc: Any = None, blobs: Sequence[Blob] = ()) -> None:
        """Write one frame of the request at once; any frame counts as a sign of life."""
        from ckptui.engine.frames import write_frame

        write_frame(self._replies, {"id": self._number, "type": kind, "doc": doc}, blobs)

    def begin(self, item: str) -> None:
        """Say what is worked on now, so that a crash can be put down to it."""
        self.send("begin", item)

    def event(self, doc: Any, blobs: Sequence[Blob] = ()) -> None:
        """Hand over a part of the answer, or tell how far it is."""
        self.send("event", doc, blobs)


def take_pipes() -> tuple[int, int]:
    """Private copies of descriptors 0 and 1; the originals then lead to /dev/null and to standard error."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def error_doc(error: BaseException) -> dict[str, Any]:
    """What travels of an error: the class by name and its parts as JSON data."""
    from ckptui.core.model import jsonable
    from ckptui.errors import CkptuiError

    if isinstance(error, MemoryError):
        return {"class": "ReaderFailed", "title": "Reader out of memory", "detail": str(error)}
    if isinstance(error, CkptuiError):
        parts = {name: getattr(error, name, None) for name in ("title", "detail", "hint", "code", "evidence")}
        return {"class": type(error).__name__, **jsonable(parts)}
    return {"class": "ReaderFailed", "detail": f"{type(error).__name__}: {error}"[:2000]}


def answer(call: Call, ops_module: str, header: Mapping[str, Any]) -> None:
    """Carry out one request; its last frame is a reply or an error."""
    import importlib

    try:
        ops = importlib.import_module(ops_module)
        op = ops.OPS[header["op"]]
        ops.prepare(header["op"], header["args"])
        call.send("started")
        doc, out = op(call, header["args"])
        call.send("reply", doc, out)
    except BrokenPipeError:
        os._exit(0)
    # the border of the process: whatever a hostile file provokes becomes a message, and the child stays usable
    except Exception as error:
        if not isinstance(error, MemoryError):
            sys.excepthook(type(error), error, error.__traceback__)
        call.send("error", error_doc(error))


def serve(requests: int, replies: int, ops_module: str) -> None:
    """Answer requests, one after another, until the pipe ends."""
    from ckptui.engine.frames import read_frame

    while True:
        frame: Frame | None = read_frame(requests)
        if frame is None:
            return
        answer(Call(replies, frame.header["id"]), ops_module, frame.header)


def main() -> None:
    """Set up the process as its one argument says (JSON), then serve."""
    options = json.loads(sys.argv[1])
    requests, replies = take_pipes()
    os.setpgid(0, 0)
    sys.path[:] = options["path"]
    sys.dont_write_bytecode = True
    from ckptui.engine import limits

    limited = {key: options[key] for key in ("parent", "nice", "address_space")}
    Call(replies, 0).send("hello", limits.apply(**limited))
    # a broken pipe: whoever asked is gone
    with contextlib.suppress(BrokenPipeError):
        serve(requests, replies, options["ops"])
    os._exit(0)


if __name__ == "__main__":
    main()
