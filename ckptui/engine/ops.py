"""What a reader child can be asked to do. Each op gets its call, to say how far it is, and JSON arguments.

`items` ops (scan, layers, diff) do one thing after another: they send `{"done": [[index, {"ok"|"error": ...}]],
"bytes": n}` events, and `begin` before anything that may crash; see `schedule.run_items` for the other end.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Tensor
from ckptui.engine.child import Call, error_doc
from ckptui.engine.facts import pack
from ckptui.engine.frames import Blob
from ckptui.engine.opened import OpenReader, OpenReaders
from ckptui.errors import CkptuiError, Damaged, UsageError

if TYPE_CHECKING:
    import numpy as np


Args = Mapping[str, Any]
Answer = tuple[Any, Sequence[Blob]]

RAW_CHUNK = 1 << 20
BEAT_SECONDS = 0.1
"""Between two signs of progress."""
FLUSH_SECONDS = 0.05
"""Results wait this long at most for others to travel with."""
HEAVY_BYTES = 4 << 20
"""A tensor from this size on is announced before it is read."""

_readers = OpenReaders()
_IMPORTS = {
    "scan": ("ckptui.engine.scan", "ckptui.triage.values"),
    "layers": ("ckptui.engine.scan", "ckptui.engine.filtering"),
    "diff": ("ckptui.engine.pair_pieces", "ckptui.core.diff"),
    "histogram": ("ckptui.core.histogram",),
    "prove": ("ckptui.engine.stored",),
    "stored": ("ckptui.engine.stored",),
    "stored_many": ("ckptui.engine.stored",),
    "pictures": ("ckptui.engine.pictures",),
    "contents": ("ckptui.engine.contents", "crc32c"),
    "digests": ("ckptui.engine.hashing",),
    "timeline": ("ckptui.engine.timeline_child",),
    "history": ("ckptui.engine.histories",),
}


def prepare(op: str, args: Args) -> None:
    """Import what `op` needs, so that slow imports are not taken for a hanging file."""
    names = ["ckptui.readers.registry", *_IMPORTS.get(op, ())]
    kinds = [side["kind"] for side in (args, args.get("a", {}), args.get("b", {})) if "kind" in side]
    if any(kind.startswith(("keras", "hdf5")) for kind in kinds) and not (op == "timeline" and _lies_plainly(args)):
        names.append("h5py")
    for name in names:
        importlib.import_module(name)


def _lies_plainly(args: Args) -> bool:
    """Whether all values lie in files as they are: no library is needed to read them."""
    sides = [args["tensors"], *(side["tensors"] for side in args["befores"])] if args["items"] else []
    return all(side["columns"]["encoding"].get("same") == "plain" for side in sides)


def open_(call: Call, args: Args) -> Answer:
    """The listing of a save."""
    return pack(_opened(call, args).listing), []


def _opened(call: Call, args: Args) -> OpenReader:
    """The reader of `path`, the listing read. A reader that fails is not kept."""
    path = args["path"]
    call.begin(path)
    return _readers.get(path, args["kind"], lambda: call.begin(path))


# ---------------------------------------------------------------------- one item after another


class Items:
    """Hands results over in batches, and keeps the parent informed."""

    def __init__(self, call: Call, careful: bool) -> None:
        """`careful`: announce every item and send every result at once, so that a crash costs exactly one."""
        self._call = call
        self._careful = careful
        self._done: list[list[Any]] = []
        self._bytes = 0
        self._last = time.monotonic()

    def beat(self, done_bytes: int) -> None:
        """Note bytes done, if any; tells the parent now and then, which is also the sign of life."""
        self._bytes += done_bytes
        if time.monotonic() - self._last >= BEAT_SECONDS:
            self._send()

    def run(self, args: Args, work: Callable[[Any], Any], heavy: Callable[[Any], bool]) -> None:
        """Carry out `work` for every item; an error of one is its result. `heavy` items are announced."""
        for index, item in enumerate(args["items"]):
            name = item if isinstance(item, str) else str(item[0] or item[1])
            announced = self._careful
            try:
                announced = announced or heavy(item)
                if announced:
                    self._flush()
                    self._call.begin(name)
                result = {"ok": work(item)}
            except CkptuiError as error:
                result = {"error": error_doc(error)}
            except MemoryError as error:
                result = {"error": error_doc(error)}
            self._done.append([index, result])
            if announced or time.monotonic() - self._last >= FLUSH_SECONDS:
                self._flush()
        self._flush()

    def _flush(self) -> None:
        if self._done or self._bytes:
            self._send()

    def _send(self) -> None:
        self._call.event({"done": self._done, "bytes": self._bytes})
        self._done, self._bytes = [], 0
        self._last = time.monotonic()


def _is_heavy(tensor: Tensor) -> bool:
    """Large, or in a format whose library may crash."""
    return tensor.bytes >= HEAVY_BYTES or tensor.storage.encoding not in ("plain", "strings", "slices")


def scan(call: Call, args: Args) -> Answer:
    """A TensorScan for every name in `items`; `stats`, `check`, and `drop`: files to let go of afterwards.

    [name, first byte, bytes] asks for a piece of a tensor; see `pieces`.
    """
    from ckptui.engine.checked import Files
    from ckptui.engine.scan import Scanner

    items = Items(call, args.get("careful", False))
    opened = _opened(call, args)
    files = Files(frozenset(args.get("drop", ())))
    try:
        scanner = Scanner(args["path"], opened.reader, files, items.beat, stats=args["stats"], check=args["check"])

        def work(item: Any) -> Any:
            if isinstance(item, str):
                return pack(scanner.scan(opened.tensor(item)))
            from ckptui.engine.pieces import scan_piece

            return scan_piece(scanner, opened.tensor(item[0]), item[1], item[2])

        items.run(args, work, lambda item: not isinstance(item, str) or _is_heavy(opened.tensor(item)))
    finally:
        files.close()
    return None, []


def layers(call: Call, args: Args) -> Answer:
    """{"layer", "findings", "skipped"} for every name in `items`."""
    from ckptui.engine.checked import Files
    from ckptui.engine.filtering import Filtering
    from ckptui.engine.scan import Scanner

    items = Items(call, args.get("careful", False))
    opened = _opened(call, args)
    files = Files()
    scanner = Scanner(args["path"], opened.reader, files, items.beat, stats=True, check=False)
    try:
        kernels = Filtering(args["path"], opened, scanner, lambda tensor: whole(opened, tensor, items), items.beat)
        items.run(args, kernels.look, lambda name: True)
    finally:
        files.close()
    return None, []


def diff(call: Call, args: Args) -> Answer:
    """What `PairReader.compare` gives for every [a, b, matched by] in `items`.

    [a, b, matched by, first element, elements] asks for a piece of two huge tensors; see `pair_pieces`.
    """
    from ckptui.engine.checked import Files
    from ckptui.engine.pairs import PairReader, Side

    items = Items(call, args.get("careful", False))
    first, second = _opened(call, args["a"]), _opened(call, args["b"])
    files = Files(frozenset(args.get("drop", ())))
    sides = Side(args["a"]["path"], first.reader, files), Side(args["b"]["path"], second.reader, files)
    pairs = PairReader(*sides, items.beat, check=args.get("check", True))

    def found(item: Sequence[Any]) -> tuple[Tensor, Tensor]:
        return first.tensor(item[0]), second.tensor(item[1])

    try:
        items.run(
            args,
            lambda item: pairs.answer(*found(item), item[2:]),
            lambda item: any(_is_heavy(tensor) for tensor in found(item)),
        )
    finally:
        files.close()
    return None, []


# ---------------------------------------------------------------------- one tensor


def _named(call: Call, args: Args, limit: int | None = None) -> tuple[OpenReader, Tensor]:
    opened = _opened(call, args)
    tensor = opened.tensor(args["name"])
    call.begin(tensor.name)
    if limit is not None:
        size = max(tensor.bytes, tensor.count * ITEMSIZE.get(tensor.dtype, 1))
        if size > limit:
            raise UsageError(f"{tensor.name} has {size} bytes, {limit} at most were asked for")
    return opened, tensor


def array(call: Call, args: Args) -> Answer:
    """The values of tensor `name`, at most `limit` bytes: {"dtype", "numpy", "shape", "axes"} and one blob.

    Strings are two blobs: all bytes, and the int64 offset of each and of the end.
    """
    opened, tensor = _named(call, args, args["limit"])
    values = whole(opened, tensor, Items(call, False))
    doc = {
        "dtype": tensor.dtype,
        "numpy": _numpy_name(values.dtype),
        "shape": list(values.shape),
        "axes": opened.axes(tensor),
    }
    if values.dtype.kind == "O":
        return doc, _string_blobs(values)
    return doc, [_bytes_of(values)]


def whole(opened: OpenReader, tensor: Tensor, items: Items) -> np.ndarray:
    """All values in their shape, with signs of life on the way."""
    import numpy as np

    if tensor.dtype not in ITEMSIZE or not tensor.count:
        return opened.reader.array(tensor)
    values: np.ndarray | None = None
    filled = 0
    for chunk in opened.reader.chunks(tensor, RAW_CHUNK):
        if values is None:
            values = np.empty(tensor.count, chunk.dtype)
        if filled + chunk.size <= tensor.count:
            values[filled : filled + chunk.size] = chunk
        filled += chunk.size
        items.beat(chunk.nbytes)
    if values is None or filled != tensor.count:
        raise Damaged(f"{tensor.name}: {filled} values are there, {tensor.count} are announced")
    return values.reshape(tensor.shape)


def _numpy_name(dtype: np.dtype[Any]) -> str:
    """A name that makes the same dtype again: numpy's own code, or that of ml_dtypes."""
    if dtype.kind == "O":
        return "strings"
    own = dtype.isbuiltin == 1 or dtype.kind in "SUV"
    return str(dtype.str if own and dtype.type.__module__ != "ml_dtypes" else dtype.name)


def _bytes_of(values: np.ndarray) -> memoryview:
    import numpy as np

    flat: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _string_blobs(values: np.ndarray) -> list[Blob]:
    import numpy as np

    pieces = [item if isinstance(item, bytes) else str(item).encode() for item in values.reshape(-1)]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return [b"".join(pieces), _bytes_of(offsets)]


def raw(call: Call, args: Args) -> Answer:
    """The values of tensor `name` as C-order element bytes in native order, in event blobs of 1 MB."""
    opened, tensor = _named(call, args)
    if tensor.dtype not in ITEMSIZE:
        raise UsageError(f"{tensor.name} is a {tensor.dtype}, which has no element bytes")
    total = 0
    for chunk in opened.reader.chunks(tensor, RAW_CHUNK):
        blob = _bytes_of(chunk)
        total += len(blob)
        call.event(None, [blob])
    return {"bytes": total}, []


def histogram(call: Call, args: Args) -> Answer:
    """The Histogram of tensor `name` in `bins` bins; two passes in flat memory."""
    from ckptui.core.histogram import extremes, histogram_of

    opened, tensor = _named(call, args)
    items = Items(call, False)

    def chunks() -> Iterator[np.ndarray]:
        for chunk in opened.reader.chunks(tensor, RAW_CHUNK):
            yield chunk
            items.beat(chunk.nbytes)

    return pack(histogram_of(chunks(), extremes(chunks()), args["bins"], tensor.count)), []


# ---------------------------------------------------------------------- files


def verify(call: Call, args: Args) -> Answer:
    """Findings about a save that no single tensor's check makes; see `wholes`."""
    from ckptui.engine.wholes import verify_whole

    call.begin(args["path"])
    return pack(verify_whole(args["path"], args["kind"], Items(call, False).beat)), []


def absent(call: Call, args: Args) -> Answer:
    """Those of `files` of which nothing is in the page cache."""
    from ckptui.engine.pages import resident

    return [file for file in args["files"] if resident(file) is False], []


def _elsewhere(module: str, name: str) -> Callable[[Call, Args], Answer]:
    """An op in a module of its own, which is imported when it is asked for."""

    def op(call: Call, args: Args) -> Answer:
        work = getattr(importlib.import_module(f"ckptui.engine.{module}"), name)

        def opened(side: Args = args) -> OpenReader:
            return _opened(call, side)

        return work(call, args, Items(call, args.get("careful", False)), opened), []

    return op


OPS: dict[str, Callable[[Call, Args], Answer]] = {
    "open": open_,
    "scan": scan,
    "layers": layers,
    "diff": diff,
    "array": array,
    "raw": raw,
    "histogram": histogram,
    "verify": verify,
    "absent": absent,
    **{name: _elsewhere("salvaging", name) for name in ("prove", "stored", "stored_many", "places")},
    "causes": _elsewhere("causes", "causes"),
    "pictures": _elsewhere("pictures", "pictures"),
    "overview": _elsewhere("overviews", "overview"),
    "contents": _elsewhere("contents", "contents"),
    "digests": _elsewhere("hashing", "digests"),
    "timeline": _elsewhere("timeline_child", "timeline"),
    "history": _elsewhere("histories", "history"),
}
