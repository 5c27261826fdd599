"""A tensor too large to be sent, as a small heat map.

The op `overview` is for children, `read_overview` for whoever asks them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ckptui.core.model import Kind
from ckptui.core.overview import Overview
from ckptui.engine.pool import Flag, Pool, twice
from ckptui.errors import ReaderFailed, UsageError

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

CHUNK = 1 << 20


def overview(call: Call, args: Mapping[str, Any], items: Items, opened: Callable[[], OpenReader]) -> dict[str, Any]:
    """Tensor `name` as at most (`height`, `width`) pixels: {"shape", "values", "limit"}.

    Its last axis runs across, all others run down together; a vector runs across.
    """
    reader = opened()
    tensor = reader.tensor(args["name"])
    call.begin(tensor.name)
    columns = tensor.shape[-1] if tensor.shape else 1
    if not tensor.count or tensor.dtype in ("string", "variant", "resource"):
        raise UsageError(f"{tensor.name} has no numbers")
    small = Overview(tensor.count // columns, columns, args["height"], args["width"])
    for chunk in reader.reader.chunks(tensor, CHUNK):
        small.add(chunk.real if np.iscomplexobj(chunk) else chunk)
        items.beat(chunk.nbytes)
    values, limit = small.result()
    raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {"shape": list(values.shape), "values": base64.b64encode(raw).decode("ascii"), "limit": limit}


def read_overview(
    pool: Pool, path: str, kind: Kind, name: str, pixels: tuple[int, int], cancel: Flag | None = None
) -> tuple[npt.NDArray[np.float32], float]:
    """A tensor as at most `pixels` (height, width) of float32, and the magnitude of full colour.

    Raises:
        Cancelled: `cancel` was set. UsageError: it holds no numbers. ReaderFailed: the answer is none.
    """
    args = {"path": path, "kind": kind, "name": name, "height": pixels[0], "width": pixels[1]}
    doc = twice(lambda: pool.call("overview", args, cancel=cancel)).doc
    try:
        height, width = (int(n) for n in doc["shape"])
        raw, limit = base64.b64decode(doc["values"], validate=True), float(doc["limit"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ReaderFailed(f"it answered with {type(error).__name__}") from error
    fits = 0 < height <= pixels[0] and 0 < width <= pixels[1] and height * width * 4 == len(raw)
    if not fits or not math.isfinite(limit):
        raise ReaderFailed("it answered with a picture that was not asked for")
    return np.frombuffer(raw, "<f4").reshape(height, width), limit
