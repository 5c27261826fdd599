"""Named arrays on their way through a frame: numbers as they are, strings as bytes with their lengths.

Both ends use this module. Each entry of the list that goes into the JSON document is `[name, text]`; `text` is None
for numbers and `{"shape": [...], "lengths": [...]}` for strings, whose array is all their bytes one after another.
"""

from __future__ import annotations

from typing import Any


def pack(named: Any) -> tuple[list[Any], list[Any]]:
    """Entries and arrays of `[(name, array), ...]`; an array of objects or strings is taken for bytes."""
    import numpy as np

    entries, arrays = [], []
    for name, value in named:
        array = np.asarray(value)
        if array.dtype.kind not in "OSU":
            entries.append([name, None])
            arrays.append(array)
            continue
        pieces = [as_bytes(item) for item in array.reshape(-1).tolist()]
        entries.append([name, {"shape": list(array.shape), "lengths": [len(piece) for piece in pieces]}])
        arrays.append(np.frombuffer(b"".join(pieces), np.uint8))
    return entries, arrays


def unpack(entries: Any, arrays: Any) -> list[Any]:
    """`[(name, array), ...]`, strings as arrays of bytes. Raises ValueError where they contradict each other."""
    import numpy as np

    if len(entries) != len(arrays):
        raise ValueError("%d entries, %d arrays" % (len(entries), len(arrays)))
    found = []
    for (name, text), array in zip(entries, arrays):
        if text is None:
            found.append((name, array))
            continue
        lengths = [int(length) for length in text["lengths"]]
        if min(lengths, default=0) < 0 or sum(lengths) != array.size:
            raise ValueError("strings of " + str(name) + " do not fill their bytes")
        raw, strings, at = array.tobytes(), np.empty(len(lengths), dtype=object), 0
        for place, length in enumerate(lengths):
            strings[place] = raw[at : at + length]
            at += length
        found.append((name, strings.reshape([int(extent) for extent in text["shape"]])))
    return found


def as_bytes(item: Any) -> bytes:
    """A string as TensorFlow keeps it."""
    return item.encode("utf-8") if isinstance(item, str) else bytes(item)
