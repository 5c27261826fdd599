"""The values of one tensor over the saves of a run, as histograms over one common range.

The op `history` is for children, `histories` for whoever asks them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.histogram import SAMPLE, HistogramAccumulator, Sample
from ckptui.core.model import Found, Histogram, Tensor, TimelineRow
from ckptui.core.names import clean
from ckptui.core.results import QUANTILES
from ckptui.engine.items import Done, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import Cancelled, NoSuchTensor, UsageError

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

CHUNK = 1 << 20
MOST_BINS = 4096
Array = np.ndarray[Any, Any]


def history(call: Call, args: Mapping[str, Any], items: Items, opened: Callable[..., OpenReader]) -> None:
    """For every [path, kind] of `items` the sampled values of the tensor `name` or `own_name`: {"count", "values"}."""

    def work(item: Sequence[str]) -> dict[str, Any]:
        reader = opened({"path": item[0], "kind": item[1]})
        tensor = _meant(reader, args)
        call.begin(item[0])
        if tensor.dtype not in dtypes.ITEMSIZE or dtypes.is_complex(tensor.dtype):
            raise UsageError(f"{tensor.name} has no numbers on a line")
        sample = Sample(tensor.count)
        for chunk in reader.reader.chunks(tensor, CHUNK):
            sample.add(chunk)
            items.beat(chunk.nbytes)
        raw = sample.values().astype("<f8").tobytes()
        return {"count": tensor.count, "values": base64.b64encode(raw).decode("ascii")}

    items.run(args, work, lambda item: True)


def _meant(reader: OpenReader, args: Mapping[str, Any]) -> Tensor:
    """The tensor of a row: by stored name, else the one of its own name, role and shape. Raises NoSuchTensor."""
    shape = tuple(args["shape"])
    try:
        return reader.tensor(args["name"])
    except NoSuchTensor:
        alike = [
            tensor
            for tensor in reader.listing.tensors
            if tensor.role == args["role"]
            and tensor.shape == shape
            and clean(tensor.object_path or tensor.name) == args["own_name"]
        ]
        if len(alike) != 1:
            raise
        return alike[0]


def histories(
    pool: Pool, saves: Sequence[Found], row: TimelineRow, bins: int, cancel: Flag | None = None
) -> tuple[Histogram | None, ...]:
    """One histogram a save; None for a save without the tensor, or that can't be read.

    Raises Cancelled; UsageError for a number of bins that is none.
    """
    if not 0 < bins <= MOST_BINS:
        raise UsageError(f"{bins} bins")
    args = {"name": row.name, "own_name": row.own_name, "role": row.role, "shape": list(row.shape)}
    items = [[save.path, save.kind] for save in saves]
    values: list[tuple[int, Array] | None] = [None] * len(saves)
    for outcome in run_items(pool, "history", args, items, [[place] for place in range(len(saves))], cancel=cancel):
        if not isinstance(outcome, Done) and outcome.error is None:
            values[outcome.key] = _values(outcome.doc)
    if cancel is not None and cancel.is_set():
        raise Cancelled("the history was taken back")
    finite = [known[1][np.isfinite(known[1])] for known in values if known is not None]
    ends = [(float(some.min()), float(some.max())) for some in finite if some.size]
    span = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
    return tuple(None if known is None else _counted(known, span, bins) for known in values)


def _counted(known: tuple[int, Array], span: tuple[float, float] | None, bins: int) -> Histogram:
    count, values = known
    sampled = values.size if values.size < count else 0
    if span is None:
        return Histogram(0.0, 0.0, (), int(values.size), (), sampled)
    accumulator = HistogramAccumulator(*span, bins)
    accumulator.add(values)
    told = accumulator.result()
    finite = values[np.isfinite(values)]
    # halves, so that the distance of float64 extremes does not overflow
    quantiles = tuple((np.quantile(finite / 2, QUANTILES) * 2).tolist()) if finite.size else ()
    return Histogram(told.low, told.high, told.counts, told.outside, quantiles, sampled)


def _values(doc: Any) -> tuple[int, Array] | None:
    """What a child sampled; None for anything else."""
    try:
        raw = base64.b64decode(doc["values"], validate=True)
        count = doc["count"]
        values: Array = np.frombuffer(raw, "<f8")
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None
    if type(count) is not int or values.size > min(count, SAMPLE):
        return None
    return count, values
