"""The ops of a salvage: `prove` (items), `stored`, `stored_many` and `places`. See `engine.ops` for how ops work.

Each gets its call, its arguments, the keeper of items, and what opens the save's own reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Tensor
from ckptui.engine.child import error_doc
from ckptui.engine.facts import TensorColumns, unpack
from ckptui.errors import CkptuiError, Damaged

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.frames import Blob
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

Args = Mapping[str, Any]
PIECE = 1 << 20
"""Bytes sent at a time."""
Opened = Callable[[], "OpenReader"]
Send = Callable[[Any, Sequence["Blob"]], None]
BUNDLES = frozenset({"tf-checkpoint", "saved-model"})
"""Kinds whose tensors are read where their storage says, whatever index said it."""
ENCODINGS = frozenset({"plain", "strings", "variant", "slices", "none"})
"""Ways of storing that need no reader."""


def prove(call: Call, args: Args, items: Items, opened: Opened) -> None:
    """See `stored.prove`: for every name in `items` the tensor of that name among the packed `tensors`."""
    from ckptui.engine.checked import Files
    from ckptui.engine.stored import prove as prove_tensor

    tensors = {tensor.name: tensor for tensor in TensorColumns(args["tensors"])}
    files = Files()
    try:
        items.run(args, lambda name: prove_tensor(tensors[name], files, items.beat), lambda name: False)
    finally:
        files.close()


def stored(call: Call, args: Args, items: Items, opened: Opened) -> dict[str, Any]:
    """Send a tensor as a checkpoint stores it, in event blobs; {"bytes", "crc"} of all that was sent.

    `tensor` (packed), `repairs` [[part, byte, bit]], `holes` [tile numbers]; `form` is `bundle`, or for a string tensor
    `array`: its bytes in events "text", then int64 offsets in events "offsets". `opened` is asked where only the reader
    knows the layout.
    """
    call.begin(unpack(args["tensor"], Tensor).name)
    return _send_one(call.event, args, args["kind"] in BUNDLES, opened, items.beat)


def stored_many(call: Call, args: Args, items: Items, opened: Opened) -> None:
    """The same for many small tensors: for each of `many` (a request as `stored` takes it) one event with one blob.

    The event is {"place", "bytes", "crc"}, or {"place", "error"} without a blob.
    """
    for place, one in enumerate(args["many"]):
        held = bytearray()

        def keep(_: Any, blobs: Sequence[Blob], held: bytearray = held) -> None:
            for blob in blobs:
                held += blob

        call.begin(unpack(one["tensor"], Tensor).name)
        try:
            answer = _send_one(keep, one, args["kind"] in BUNDLES, opened, items.beat)
        except CkptuiError as error:
            call.event({"place": place, "error": error_doc(error)})
        else:
            call.event({"place": place, **answer}, [held])


def places(call: Call, args: Args, items: Items, opened: Opened) -> dict[str, str]:
    """Where a `.weights.h5` keeps the variables of a Keras file, by tensor name; see `keras_places`."""
    from ckptui.engine.keras_places import places as find_places

    return find_places(opened().reader)


def _send_one(send: Send, one: Args, own: bool, opened: Opened, beat: Callable[[int], None]) -> dict[str, Any]:
    tensor = unpack(one["tensor"], Tensor)
    own = own and tensor.storage.encoding in ENCODINGS
    repairs = {part: (byte, bit) for part, byte, bit in one.get("repairs", ())}
    if tensor.dtype == "variant":
        return _send_variants(send, tensor, own, beat)
    if tensor.dtype == "string":
        return _send_strings(send, _strings(tensor, repairs, own, opened), one.get("form", "bundle"))
    if tensor.dtype not in ITEMSIZE:
        raise Damaged(f"{tensor.name}: values of dtype {tensor.dtype} are not copied")
    return _send_elements(send, tensor, _elements(tensor, repairs, frozenset(one.get("holes", ())), own, opened, beat))


def _elements(
    tensor: Tensor,
    repairs: Mapping[int, tuple[int, int]],
    holes: frozenset[int],
    own: bool,
    opened: Opened,
    beat: Callable[[int], None],
) -> Iterator[memoryview]:
    from ckptui.engine.stored import elements

    if own or repairs:
        yield from elements(tensor, repairs, holes, beat)
        return
    import numpy as np

    for chunk in opened().reader.chunks(tensor, PIECE):
        flat: Any = np.ascontiguousarray(chunk).reshape(-1).view(np.uint8)
        yield memoryview(flat)


def _send_elements(send: Send, tensor: Tensor, pieces: Iterator[memoryview]) -> dict[str, Any]:
    from crc32c import crc32c

    crc, sent, needed = 0, 0, tensor.count * ITEMSIZE[tensor.dtype]
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            part = piece[start : start + PIECE]
            crc = crc32c(part, crc)
            sent += len(part)
            send("bytes", [part])
    if sent != needed:
        raise Damaged(f"{tensor.name}: {sent} bytes are there, its shape needs {needed}")
    return {"bytes": sent, "crc": crc}


def _strings(tensor: Tensor, repairs: Mapping[int, tuple[int, int]], own: bool, opened: Opened) -> Sequence[bytes]:
    from ckptui.engine.stored import STRING_LIMIT, stored_strings

    if own:
        return stored_strings(tensor, repairs)
    if tensor.bytes > STRING_LIMIT:
        raise Damaged(f"{tensor.name}: {tensor.bytes} bytes of strings, at most {STRING_LIMIT} are copied")
    flat = opened().reader.array(tensor).reshape(-1)
    return [item if isinstance(item, bytes) else str(item).encode() for item in flat]


def _send_strings(send: Send, items: Sequence[bytes], form: str) -> dict[str, Any]:
    import numpy as np

    from ckptui.engine.stored import encoded

    if form == "bundle":
        raw, crc = encoded(items)
        _send(send, "bytes", raw)
        return {"bytes": len(raw), "crc": crc}
    offsets = np.zeros(len(items) + 1, "<i8")
    np.cumsum([len(item) for item in items], out=offsets[1:])
    _send(send, "text", b"".join(items))
    _send(send, "offsets", offsets.tobytes())
    return {"bytes": int(offsets[-1]), "crc": 0}


def _send_variants(send: Send, tensor: Tensor, own: bool, beat: Callable[[int], None]) -> dict[str, Any]:
    from ckptui.engine.checked import Files
    from ckptui.engine.stored import stored_variants

    if not own:
        raise Damaged(f"{tensor.name}: variants are copied from checkpoints only")
    files = Files()
    try:
        raw, crc = stored_variants(tensor, files, beat)
    finally:
        files.close()
    _send(send, "bytes", raw)
    return {"bytes": len(raw), "crc": crc}


def _send(send: Send, what: str, raw: bytes) -> None:
    blobs: Blob = memoryview(raw)
    for start in range(0, len(raw), PIECE):
        send(what, [blobs[start : start + PIECE]])
