"""The parent's side of the ops that answer once: a listing, an array, raw bytes, a histogram, member checksums."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckptui.core.model import Finding, Histogram, Kind, Listing
from ckptui.engine.facts import unpack
from ckptui.engine.frames import Blob
from ckptui.engine.pool import Event, Flag, Pool, Reply, twice
from ckptui.errors import Cancelled, ReaderFailed

if TYPE_CHECKING:
    import numpy as np

EXTENDED = frozenset(
    {
        "bfloat16",
        "float8_e5m2",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2fnuz",
        "float4_e2m1fn",
        "int2",
        "int4",
        "uint2",
        "uint4",
    }
)
"""Names of ml_dtypes that a child may answer with; everything else must be plain numpy numbers."""


VERIFY_TIMEOUT = 60.0
"""Seconds without a sign of life while one member of an archive is read through: it may be gigabytes."""


def open_listing(pool: Pool, path: str, kind: Kind) -> Listing:
    """What the save at `path` says about itself, read in a child.

    Raises:
        ReaderCrashed: twice in a row; ReaderHung; or what the reader said.
    """
    reply = twice(lambda: pool.call("open", {"path": path, "kind": kind}))
    return unpack(reply.doc, Listing)


def verify(pool: Pool, path: str, kind: Kind, cancel: Flag | None = None) -> list[Finding]:
    """Checksums over whole members of an archive."""
    args = {"path": path, "kind": kind}
    reply = twice(lambda: pool.call("verify", args, cancel=cancel, idle_timeout=VERIFY_TIMEOUT))
    return [unpack(doc, Finding) for doc in reply.doc]


def histogram(pool: Pool, path: str, kind: Kind, name: str, bins: int) -> Histogram:
    """Counts of the finite values of a tensor in `bins` equal bins."""
    args = {"path": path, "kind": kind, "name": name, "bins": bins}
    return unpack(twice(lambda: pool.call("histogram", args)).doc, Histogram)


def _dtype(name: Any) -> np.dtype[Any]:
    """The dtype a child names; raises ReaderFailed for objects and anything that is no plain number."""
    import numpy as np

    if name in EXTENDED:
        import ml_dtypes

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return extended
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except (TypeError, ValueError) as error:
        raise ReaderFailed(f"it answered with the dtype {name!r}") from error
    if dtype.hasobject:
        raise ReaderFailed("it answered with objects")
    return dtype


def array(pool: Pool, path: str, kind: Kind, name: str, limit: int) -> np.ndarray[Any, Any]:
    """The values of a tensor of at most `limit` bytes; strings as an object array of bytes."""
    return drawable(pool, path, kind, name, limit)[0]


def drawable(pool: Pool, path: str, kind: Kind, name: str, limit: int) -> tuple[np.ndarray[Any, Any], str]:
    """The same, and how the axes of a kernel are meant, see `layout.axes_of`."""
    import numpy as np

    args = {"path": path, "kind": kind, "name": name, "limit": limit}
    reply = twice(lambda: pool.call("array", args))
    shape = tuple(int(n) for n in reply.doc["shape"])
    if reply.doc["numpy"] == "strings":
        raw, offsets = bytes(reply.blobs[0]), np.frombuffer(reply.blobs[1], np.int64)
        values = np.empty(len(offsets) - 1, object)
        values[:] = [raw[a:b] for a, b in itertools.pairwise(offsets.tolist())]
        return values.reshape(shape), ""
    dtype = _dtype(reply.doc["numpy"])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(reply.blobs[0]):
        raise ReaderFailed("it answered with a shape that its bytes do not fill", title="Reader failed")
    return np.frombuffer(reply.blobs[0], dtype).reshape(shape), str(reply.doc["axes"])


def strings(pool: Pool, path: str, kind: Kind, name: str, limit: int) -> tuple[Blob, Blob]:
    """All bytes of a string tensor, and the int64 offset of each string and of the end."""
    reply = twice(lambda: pool.call("array", {"path": path, "kind": kind, "name": name, "limit": limit}))
    if reply.doc["numpy"] != "strings":
        raise ReaderFailed(f"{name} holds no strings")
    return reply.blobs[0], reply.blobs[1]


def raw(pool: Pool, path: str, kind: Kind, name: str) -> Iterator[Blob]:
    """The element bytes of a tensor, C order, native byte order, in pieces of 1 MB, a few in memory at most."""
    for item in streamed(pool, "raw", {"path": path, "kind": kind, "name": name}):
        if isinstance(item, Event):
            yield from item.blobs


def streamed(pool: Pool, op: str, args: Mapping[str, Any], cancel: Flag | None = None) -> Iterator[Event | Reply]:
    """The events of an op as they come, a few in memory at most, and its reply at the end."""
    import queue
    import threading

    box: queue.Queue[Event | Reply | BaseException] = queue.Queue(maxsize=4)
    stop = threading.Event()

    def put(item: Event | Reply | BaseException) -> None:
        while not stop.is_set():
            try:
                box.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            put(pool.call(op, args, cancel=stop, on_event=put))
        except BaseException as error:
            # carried over to the consumer's thread, where it is raised
            put(error)

    thread = threading.Thread(target=work, name=f"ckptui-{op}", daemon=True)
    thread.start()
    try:
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled(op)
            try:
                item = box.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Reply):
                return
    finally:
        stop.set()
        thread.join()
