"""Filters made ready to be drawn, in reader children: only what is shown comes back, never a whole kernel.

The op `pictures` is for children, `read_pictures` for whoever asks them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.heatmaps import reduced, unit_matrix
from ckptui.core.layout import LAYER_LIMIT, KernelLayout, layout_of
from ckptui.core.model import Artifact
from ckptui.core.pictures import filters_of, first_view, layer_scale
from ckptui.engine.items import Outcome, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import CkptuiError, ReaderFailed, UsageError

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

Args = Mapping[str, Any]
Array = npt.NDArray[np.float32]
IDLE_TIMEOUT = 20.0
"""Seconds one kernel may take without a sign of life."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be drawn of one tensor."""

    tensor: str
    picks: tuple[int, ...] = ()
    """Filters that are shown as pictures, by index; none: the whole matrix is a heat map."""
    height: int = 0
    """Pixels of a heat map, at most."""
    width: int = 0


@dataclass(frozen=True, slots=True)
class Values:
    """What comes back: float32, ready for a colour scale."""

    planes: Array
    """(n, h, w), of 3 channels (n, h, w, 3), in the order of the picks; or a heat map (h, w)."""
    limit: float
    """The magnitude of full colour for the whole layer, by all its filters."""
    largest: float
    """The largest finite magnitude of what could be drawn of the layer."""
    share: float | None = None
    """Of first components: the median share of a filter's energy they stand for."""


def pictures(call: Call, args: Args, items: Items, opened: Callable[[], OpenReader]) -> None:
    """The Values of every [name, picks, height, width] in `items`, as a document."""
    reader = opened()
    items.run(args, lambda item: _document(_values(reader, item, items)), lambda item: True)


@np.errstate(all="ignore")
def _values(opened: OpenReader, item: Sequence[Any], items: Items) -> Values:
    # imported here: `ops` asks for this module
    from ckptui.engine.ops import whole

    name, picks, height, width = item
    tensor = opened.tensor(name)
    size = max(tensor.bytes, tensor.count * ITEMSIZE.get(tensor.dtype, 1))
    if size > LAYER_LIMIT:
        raise UsageError(f"{size} bytes, {LAYER_LIMIT} at most")
    layout = layout_of(whole(opened, tensor, items), tensor.role, axes=opened.axes(tensor))
    if layout is None:
        raise UsageError(f"{tensor.name} has no filters")
    if not picks:
        values, limit, largest = reduced(unit_matrix(layout), height, width)
        return Values(values, limit, largest)
    return shown(layout, picks, lambda: items.beat(0))


def shown(layout: KernelLayout, picks: Sequence[int], beat: Callable[[], None] = lambda: None) -> Values:
    """The first view of the filters in `picks`; scale and share are those of all filters. Widens block by block."""
    planes, shares = [], []
    for _, columns in layout.blocks():
        view, share = first_view(filters_of(replace(layout, matrix=columns)))
        planes.append(np.ascontiguousarray(view))
        if share is not None:
            shares.append(share)
        beat()
    together = planes[0] if len(planes) == 1 else np.concatenate(planes)
    magnitudes = np.abs(together)
    return Values(
        together[list(picks)],
        layer_scale(together),
        float(magnitudes.max(where=np.isfinite(magnitudes), initial=0.0)),
        float(np.median(np.concatenate(shares))) if shares else None,
    )


def _document(values: Values) -> dict[str, Any]:
    """As JSON: numbers JSON has no words for travel in the bytes alone."""
    raw = np.ascontiguousarray(values.planes, dtype="<f4")
    return {
        "shape": list(raw.shape),
        "values": base64.b64encode(raw.tobytes()).decode("ascii"),
        "limit": values.limit,
        "largest": values.largest,
        "share": values.share,
    }


def read_pictures(
    pool: Pool, artifact: Artifact, wanted: Sequence[Wanted], cancel: Flag | None = None
) -> Iterator[tuple[int, Values | CkptuiError]]:
    """For each place in `wanted`, as it comes, what is to be drawn or why it can't be."""
    items = [[w.tensor, list(w.picks), w.height, w.width] for w in wanted]
    tasks = [[key] for key in range(len(items))]
    args = {"path": artifact.path, "kind": artifact.kind}
    for item in run_items(pool, "pictures", args, items, tasks, cancel=cancel, idle_timeout=IDLE_TIMEOUT):
        if isinstance(item, Outcome):
            yield item.key, item.error if item.error is not None else _checked(wanted[item.key], item.doc)


def _checked(wanted: Wanted, doc: Any) -> Values | CkptuiError:
    """A child's answer, or that it is none: children read what can't be trusted."""
    try:
        shape = tuple(int(n) for n in doc["shape"])
        raw = base64.b64decode(doc["values"], validate=True)
        limit, largest = float(doc["limit"]), float(doc["largest"])
        share = None if doc["share"] is None else float(doc["share"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        return ReaderFailed(f"it answered with {type(error).__name__}")
    fits = (
        shape[0] == len(wanted.picks) and (len(shape) == 3 or shape[3:] == (3,))
        if wanted.picks and len(shape) in (3, 4)
        else len(shape) == 2 and shape[0] <= wanted.height and shape[1] <= wanted.width
    )
    if not fits or min(shape) < 1 or math.prod(shape) * 4 != len(raw):
        return ReaderFailed("it answered with a shape that was not asked for")
    if not (math.isfinite(limit) and math.isfinite(largest)):
        return ReaderFailed("it answered with a scale without ends")
    return Values(np.frombuffer(raw, "<f4").reshape(shape), limit, largest, share)
