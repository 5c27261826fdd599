"""Walking an HDF5 file's groups, and reading its attributes, without following anything that leaves the file.

Runs in the reader child only: HDF5 can crash on hostile bytes. The walk is iterative and visits every object once,
by its address, so that cycles, hard links in a lattice and 20,000 nested groups cost what they occupy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from ckptui.errors import Damaged
from ckptui.readers.hdf5_address import open_at

HDF5_ERRORS = (OSError, LookupError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError)
"""What h5py raises for damaged files (UnicodeDecodeError is a ValueError, KeyError a LookupError)."""

MAX_LINKS = 2_000_000
"""Links looked at in one file."""
MAX_NAME_CHARACTERS = 64 << 20
"""Characters in all reported paths together: nested groups make them quadratic."""
NAMED_DEPTH = 100
"""Here groups are opened by their address: HDF5 keeps the whole path of all that were opened by names from the root."""
MAX_HINTED = 200
"""Damaged groups in which promised names are tried."""
TICK_EVERY = 2000
MAX_ATTRIBUTE_BYTES = 32 << 20
MAX_ATTRIBUTE_PARTS = 1000
"""Pieces Keras may have split one long attribute into (`layer_names0`, `layer_names1`, ...)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing met on the walk."""

    kind: Literal["group", "dataset", "type", "again", "external", "broken", "unlisted", "stopped"]
    """`group` only for groups with attributes; `type`: a datatype under a name; `again`: another
    name of something met before; `broken`: an object that can't be
    opened; `unlisted`: a group whose links can't all be listed; `stopped`: a cap was reached, the walk ends here."""
    path: str
    """Without a leading slash; undecodable bytes as surrogates, so that it can be turned back into bytes."""
    handle: Any = None
    """h5py's low-level id of a group or dataset."""
    text: str = ""
    """Where an external link points, or what went wrong."""
    address: int = -1
    """Of the object header, counted from the file's base; -1 where no link told it."""


@dataclass(slots=True)
class _Level:
    group: Any
    names: Iterator[bytes]


def to_path(raw: bytes) -> str:
    """HDF5's bytes as a name; `to_bytes` is the inverse."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(path: str) -> bytes:
    """The name as HDF5 stores it."""
    return path.encode("utf-8", "surrogateescape")


def reason(error: BaseException) -> str:
    """h5py's words without the frame around them."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def no_names(path: str, address: int) -> Sequence[str]:
    """Nothing is known about a damaged group."""
    return ()


def walk(
    file: Any,
    hints: Callable[[str, int], Sequence[str]] = no_names,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Item]:
    """Every object of an open h5py file id, depth first in name order as `visititems` has it.

    `hints` is asked for a damaged group's path and object address; it may mend the group, and names what to look
    for in it. `tick` is called every TICK_EVERY links.
    Raises one of HDF5_ERRORS only when the root group can't be opened.
    """
    return _Walk(file, hints, tick).items()


class _Walk:
    """The state of one walk: the open groups from the root down, and the addresses seen."""

    def __init__(self, file: Any, hints: Callable[[str, int], Sequence[str]], tick: Callable[[], None]) -> None:
        import h5py

        h5g, h5o = h5py.h5g, h5py.h5o

        self._file = file
        self._hints = hints
        self._tick = tick
        self._root = h5g.open(file, b"/")
        self._parts: list[bytes] = []
        self._address = -1
        """Of the object opened last."""
        with contextlib.suppress(*HDF5_ERRORS):
            # HDF5 counts a group's nodes for this, which it can't where they are damaged.
            self._address = h5o.get_info(self._root).addr
        self._seen: set[int] = {self._address}
        self._links = 0
        self._steps = 0
        self._hinted = 0
        self._characters = 0

    def items(self) -> Iterator[Item]:
        import h5py

        h5d, h5g = h5py.h5d, h5py.h5g

        yield Item("group", "", self._root, address=self._address)
        stack: list[_Level] = []
        yield from self._enter(stack, self._root)
        while stack:
            self._steps += 1
            if self._steps % TICK_EVERY == 0:
                self._tick()
            name = next(stack[-1].names, None)
            if name is None:
                stack.pop()
                if self._parts:
                    self._parts.pop()
                continue
            child, item = self._open(stack[-1].group, name)
            if item is not None:
                yield item
            elif isinstance(child, h5d.DatasetID):
                yield Item("dataset", self._path(name), child, address=self._address)
            elif isinstance(child, h5g.GroupID):
                self._parts.append(name)
                if _has_attributes(child):
                    yield Item("group", self._path(), child, address=self._address)
                yield from self._enter(stack, child)
            elif child is not None:
                yield Item("type", self._path(name), child, address=self._address)
            if self._links > MAX_LINKS or self._characters > MAX_NAME_CHARACTERS:
                yield Item("stopped", self._path(), text="more names than are listed of one file")
                return

    def _enter(self, stack: list[_Level], group: Any) -> Iterator[Item]:
        names, problem = self._names(group)
        if problem:
            path = self._path()
            yield Item("unlisted", path, text=problem, address=self._address)
            names += self._search(group, path, names)
        self._links += len(names)
        stack.append(_Level(group, iter(names)))

    def _names(self, group: Any) -> tuple[list[bytes], str]:
        """A group's link names as far as they can be listed, and what stopped the listing."""
        names: list[bytes] = []

        def take(name: bytes) -> bool | None:
            names.append(name)
            return True if len(names) > MAX_LINKS else None

        try:
            if not _is_empty(group):
                group.links.iterate(take)
        except HDF5_ERRORS as error:
            return names, reason(error)
        if any(a >= b for a, b in pairwise(names)):
            return list(dict.fromkeys(names)), "its names are not in order"
        return names, ""

    def _search(self, group: Any, path: str, known: list[bytes]) -> list[bytes]:
        """More names of a damaged group: those that can be listed once it is mended, those found by name."""
        self._hinted += 1
        if self._hinted > MAX_HINTED:
            return []
        promised = [to_bytes(name) for name in self._hints(path, self._address)]
        again, _ = self._names(group)
        # Looking up one name needs fewer of the group's nodes than listing them all.
        by_name = [name for name in promised if _exists(group, name)]
        return [name for name in dict.fromkeys([*again, *by_name]) if name not in known]

    def _open(self, group: Any, name: bytes) -> tuple[Any, Item | None]:
        """The object behind a hard link; otherwise what to report, or two Nones for what is passed over."""
        import h5py

        h5l, h5o = h5py.h5l, h5py.h5o

        if b"/" in name or name in (b"", b".", b".."):
            return None, Item("broken", self._path(name), text="a link name no writer makes")
        address = -1
        try:
            info = group.links.get_info(name)
            if info.type == h5l.TYPE_SOFT:
                return None, None
            if info.type != h5l.TYPE_HARD:
                return None, Item("external", self._path(name), text=_target(group, name, info.type))
            if info.u in self._seen:
                return None, Item("again", self._path(name), address=info.u)
            self._seen.add(info.u)
            self._address = address = info.u
            if len(self._parts) == NAMED_DEPTH:
                with contextlib.suppress(*HDF5_ERRORS):
                    return open_at(self._file, address), None
            return h5o.open(group, name), None
        except HDF5_ERRORS as error:
            return None, Item("broken", self._path(name), text=reason(error), address=address)

    def _path(self, name: bytes | None = None) -> str:
        path = to_path(b"/".join(self._parts if name is None else [*self._parts, name]))
        self._characters += len(path)
        return path


def _target(group: Any, name: bytes, kind: int) -> str:
    import h5py

    h5l = h5py.h5l

    if kind != h5l.TYPE_EXTERNAL:
        return f"user-defined link of type {kind}"
    file, inner = group.links.get_val(name)
    return f"{to_path(file)} : {to_path(inner)}"


def _exists(group: Any, name: bytes) -> bool:
    try:
        return b"/" not in name and bool(group.links.get_info(name))
    except HDF5_ERRORS:
        return False


def _is_empty(group: Any) -> bool:
    try:
        return int(group.get_num_objs()) == 0
    except HDF5_ERRORS:
        return False


def _has_attributes(group: Any) -> bool:
    import h5py

    h5a = h5py.h5a

    try:
        return int(h5a.get_num_attrs(group)) > 0
    except HDF5_ERRORS:
        return True


def attribute(thing: Any, name: str) -> Any | None:
    """A string or number attribute as a numpy array, or None where it is absent, empty or of another type.

    Raises Damaged for one larger than MAX_ATTRIBUTE_BYTES, one of HDF5_ERRORS for a broken one.
    """
    import h5py
    import numpy as np

    h5a, h5s, h5t = h5py.h5a, h5py.h5s, h5py.h5t

    raw = to_bytes(name)
    if not h5a.exists(thing, raw):
        return None
    opened = h5a.open(thing, raw)
    space, kind = opened.get_space(), opened.get_type()
    if kind.get_class() not in (h5t.STRING, h5t.INTEGER, h5t.FLOAT):
        return None
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    size = space.get_simple_extent_npoints() * kind.get_size()
    if size > MAX_ATTRIBUTE_BYTES:
        raise Damaged(f"attribute {name} declares {size} bytes", evidence={"found": size})
    value = np.empty(opened.shape, dtype=opened.dtype)
    opened.read(value)
    return value


def text_attribute(thing: Any, name: str) -> str | None:
    """A single string attribute, whichever way it was written; raises as `attribute` does."""
    texts = _texts(attribute(thing, name))
    return texts[0] if texts else None


def names_attribute(thing: Any, name: str) -> list[str] | None:
    """A list of strings, put together from `name0`, `name1`, ... where Keras had to split it; None if absent."""
    whole = attribute(thing, name)
    if whole is not None:
        return _texts(whole)
    parts: list[str] = []
    for number in range(MAX_ATTRIBUTE_PARTS):
        piece = attribute(thing, f"{name}{number}")
        if piece is None:
            return parts if number else None
        parts += _texts(piece)
    return parts


def _texts(value: Any | None) -> list[str]:
    """Strings of an array of bytes, fixed or variable; numbers (an empty list is stored as floats) give none."""
    if value is None or value.dtype.kind not in "OSU":
        return []
    flat = value.reshape(-1).tolist()
    total = sum(len(one) for one in flat if isinstance(one, (bytes, str)))
    if total > MAX_ATTRIBUTE_BYTES:
        raise Damaged(f"an attribute holds {total} bytes", evidence={"found": total})
    return [to_path(one) if isinstance(one, bytes) else str(one) for one in flat]
