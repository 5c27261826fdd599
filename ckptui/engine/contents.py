"""The content of tensors as one number each, so that equal weights are found in any format, under any name.

The op `contents` is for children, `read_contents` for whoever asks them. A number is the CRC-32C of the elements in C
order and little-endian, as they are or as another dtype would hold them. Checkpoints keep that number in their index:
nothing is read for it then, and nothing is said about the bytes themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Listing, Progress, Tensor
from ckptui.engine.items import Done, neighbours_together, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import Cancelled

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Items

CHUNK = 1 << 20
TASK_BYTES = 32 << 20
TASK_TENSORS = 500
PROGRESS_SECONDS = 0.1

Key = tuple[str, str]
"""(stored name, dtype): which content."""


def contents(call: Call, args: Mapping[str, Any], items: Items, opened: Callable[[], OpenReader]) -> None:
    """For every [name, dtype, ...] in `items` one CRC-32C for each of the dtypes; one pass over the tensor."""
    import numpy as np
    from crc32c import crc32c

    from ckptui.core.dtypes import np_dtype

    reader = opened()

    def work(item: Sequence[str]) -> list[int]:
        tensor = reader.tensor(item[0])
        wanted = [np_dtype(name).newbyteorder("<") for name in item[1:]]
        found = [0] * len(wanted)
        for chunk in reader.reader.chunks(tensor, CHUNK):
            with np.errstate(over="ignore", invalid="ignore"):
                for place, dtype in enumerate(wanted):
                    values: Any = np.ascontiguousarray(chunk.astype(dtype, copy=False))
                    found[place] = crc32c(values.view(np.uint8), found[place])
            items.beat(chunk.nbytes)
        return found

    items.run(args, work, lambda item: True)


def stored_content(tensor: Tensor) -> int | None:
    """What the save itself says about the content of a tensor; None where it would have to be read."""
    storage = tensor.storage
    plain = storage.encoding == "plain" and not storage.big_endian and not storage.npy_dtype
    whole = storage.segment is not None and storage.segment.bytes == tensor.count * ITEMSIZE.get(tensor.dtype, 0)
    return storage.crc32c if plain and whole else None


def read_contents(
    pool: Pool,
    listing: Listing,
    wanted: Sequence[tuple[Tensor, Sequence[str]]],
    found: dict[Key, int],
    cancel: Flag | None = None,
    *,
    trusting: bool = True,
) -> Iterator[Progress]:
    """Fill `found` with the content of each tensor in each dtype asked for; what can't be read is left out.

    `trusting`: what the save's index says is taken for the content, and not read.

    Raises:
        Cancelled: `cancel` was set.
        CkptuiError: the save can't be opened any more.
    """
    asked: list[list[str]] = []
    sizes: list[int] = []
    for tensor, dtypes in wanted:
        stored = stored_content(tensor)
        if trusting and stored is not None and tensor.dtype in dtypes:
            found[tensor.name, tensor.dtype] = stored
        rest = [name for name in dict.fromkeys(dtypes) if (tensor.name, name) not in found and name in ITEMSIZE]
        if rest and tensor.dtype in ITEMSIZE and not tensor.problem:
            asked.append([tensor.name, *rest])
            sizes.append(tensor.bytes)
    begun = last = time.monotonic()
    done = done_bytes = 0
    args = {"path": listing.artifact.path, "kind": listing.artifact.kind}
    for item in run_items(
        pool, "contents", args, asked, neighbours_together(sizes, TASK_BYTES, TASK_TENSORS), cancel=cancel
    ):
        if isinstance(item, Done):
            done_bytes += item.bytes
        else:
            done += 1
            _take(asked[item.key], item.doc, found)
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            yield Progress(done_bytes, sum(sizes), done, len(asked), now - begun, listing.artifact.label)
    if cancel is not None and cancel.is_set():
        raise Cancelled("the comparison was taken back")


def _take(item: Sequence[str], doc: Any, found: dict[Key, int]) -> None:
    """A child's answer, if it is one."""
    if isinstance(doc, list) and len(doc) == len(item) - 1 and all(type(number) is int for number in doc):
        found.update(((item[0], name), number) for name, number in zip(item[1:], doc, strict=True))
