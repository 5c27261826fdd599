"""What was fed, held against the inputs there are: each value gets its input, its dtype and its rank."""

from __future__ import annotations

from typing import Any

from .errors import Refused

TOLD = 20
"""Names a message lists."""
MOST_FILLED = 1 << 26
"""Values of an input that is filled with zeros."""


def fed(feeds: Any, ends: Any, optional: Any = ()) -> list[Any]:
    """`[(end, values), ...]` of `[(input or None, values), ...]`, in the order of `ends`.

    `ends` are `{"name", "dtype", "shape"}`. None stands for the first input that nobody names. Inputs in `optional`
    may be left out. Raises Refused (usage) for a name there is not, one fed twice, and inputs that are fed nothing.
    """
    by_name = {end["name"]: end for end in ends}
    named = {}
    for name, _ in feeds:
        if name is None:
            continue
        if name not in by_name:
            raise Refused("usage", "no input is called " + str(name), "Its inputs: " + listed(by_name))
        if name in named:
            raise Refused("usage", "the input " + str(name) + " is given twice")
        named[name] = True
    free = [end["name"] for end in ends if end["name"] not in named]
    free.sort(key=lambda name: name in optional)
    values = {}
    for name, value in feeds:
        if name is None:
            if not free:
                what = "the model takes no input" if not by_name else "more is fed than the model has inputs"
                raise Refused("usage", what, "Its inputs: " + listed(by_name) if by_name else "")
            name = free.pop(0)
        values[name] = value
    lacking = [name for name in by_name if name not in values and name not in optional]
    if lacking:
        raise Refused(
            "usage",
            "nothing is fed to " + listed(lacking),
            "Name a file for each: " + " ".join("--input " + name + "=FILE" for name in lacking[:TOLD]),
        )
    return [(end, fitting(values[end["name"]], end)) for end in ends if end["name"] in values]


def idle_of(ends: Any, connected: Any) -> list[str]:
    """Names of inputs that reach no output while another one does, as far as zeros can stand for them."""
    if not any(connected.values()):
        return []
    return [end["name"] for end in ends if connected.get(end["name"]) is False and zeros(end, 1) is not None]


def filled(feeds: Any, ends: Any, idle: Any) -> list[Any]:
    """What `fed` gives, and zeros for each of the `idle` inputs that is fed nothing: TensorFlow asks for them all."""
    given = fed(feeds, ends, idle)
    there = {end["name"] for end, _ in given}
    rows = next((int(value.shape[0]) for _, value in given if value.ndim), 1)
    return given + [(end, zeros(end, rows)) for end in ends if end["name"] in idle and end["name"] not in there]


def zeros(end: Any, rows: int) -> Any:
    """Zeros, or empty strings, for an input: `rows` of them where its first axis is free, any other free axis is 1.

    None where there is no telling: an unknown rank, no such numbers, too many.
    """
    import numpy as np

    if end["shape"] is None or end["dtype"] in ("resource", "variant"):
        return None
    shape = [(rows if place == 0 else 1) if n is None else n for place, n in enumerate(end["shape"])]
    if np.prod(shape, dtype=float) > MOST_FILLED:
        return None
    if end["dtype"] == "string":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, np.float32)


def fitting(value: Any, end: Any) -> Any:
    """The values with the rank of their input: a batch of one drops its axis for an input that has none.

    Raises Refused (input) where numbers are given for strings or the other way round.
    """
    import numpy as np

    value = np.asarray(value)
    texts, wanted = value.dtype.kind in "OSU", end["dtype"] == "string"
    if texts != wanted:
        kinds = ("strings", "numbers") if wanted else ("numbers", "strings")
        raise Refused("input", "the input " + end["name"] + " takes " + kinds[0] + ", not " + kinds[1])
    shape = end["shape"]
    if shape is None or value.ndim == len(shape):
        return value
    if not shape and value.size == 1:
        return value.reshape(())
    if value.ndim == len(shape) + 1 and value.shape[0] == 1:
        return value[0]
    return value


def tensor(tensorflow: Any, value: Any, dtype: Any) -> Any:
    """The values as a tensor of that dtype."""
    found = tensorflow.constant(value.tolist() if value.dtype.kind in "OSU" else value)
    wanted = tensorflow.as_dtype(dtype)
    return found if found.dtype == wanted else tensorflow.cast(found, wanted)


def as_array(tensorflow: Any, value: Any, dtype: Any) -> Any:
    """The values as an array of that dtype, for a session."""
    import numpy as np

    if value.dtype.kind in "OSU":
        return value.astype(np.dtype(object))
    return value.astype(tensorflow.as_dtype(dtype).as_numpy_dtype, copy=False)


def listed(names: Any) -> str:
    """The first names, and how many more there are."""
    names = [str(name) for name in names]
    more = " and %d more" % (len(names) - TOLD) if len(names) > TOLD else ""
    return (", ".join(names[:TOLD]) or "none") + more
