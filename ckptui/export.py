"""Writing tensors out: `.npz`, `.safetensors` or one `.npy`, streamed so that memory stays flat.

The file appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ckptui.array_files import (
    Chunk,
    Values,
    Written,
    expected_bytes,
    npy_header,
    numpy_descr,
    refusal,
    stream,
    write_npz,
    write_safetensors,
)
from ckptui.core.model import Listing, Tensor
from ckptui.engine.requests import raw, strings
from ckptui.errors import UsageError
from ckptui.salvage.publishing import Pending

if TYPE_CHECKING:
    from ckptui.session import Session

STRING_LIMIT = 1 << 30
"""Bytes of the largest string tensor that is taken out whole."""

SUFFIXES = (".npz", ".safetensors", ".npy")
"""What can be written, by the name of the target."""


def check_target(listing: Listing, count: int, target: str, *, force: bool = False) -> None:
    """Look at where `count` tensors are to be written, before anything is read.

    Raises:
        UsageError: unknown suffix, several tensors for `.npy`, the target exists or lies inside the save.
    """
    suffix = Path(target).suffix
    if suffix not in SUFFIXES:
        raise UsageError(f"{target} ends in none of {', '.join(SUFFIXES)}", "The suffix chooses the format")
    if suffix == ".npy" and count != 1:
        raise UsageError(f"a .npy holds one tensor, {count} were chosen", "Narrow --match, or write a .npz")
    check_place(listing, target, force=force)


def check_place(listing: Listing, target: str, *, force: bool = False) -> None:
    """Look at where a file about a save is to be written, whatever it will hold.

    Raises:
        UsageError: there is no such folder, the target exists, lies inside the save or is the save.
    """
    place = Path(target).absolute()
    source = Path(listing.artifact.path).resolve()
    if not place.parent.is_dir():
        raise UsageError(f"the folder {place.parent} does not exist", "Create it, or choose another")
    if source.is_dir() and source in (place.parent.resolve(), *place.parent.resolve().parents):
        raise UsageError(f"{target} lies inside the save", "ckptui never writes into what it looks at")
    if place.resolve() == source or str(place.resolve()).startswith(f"{source}.data-"):
        raise UsageError(f"{target} is the save itself", "Choose another file")
    if os.path.lexists(place) and (place.is_dir() or not force):
        raise UsageError(f"{target} exists", "Choose another name, or --force")


def write_tensors(
    session: Session, listing: Listing, tensors: Sequence[Tensor], target: str, *, force: bool = False
) -> Written:
    """Write `tensors` of a save to `target`; its suffix chooses the format.

    In an `.npz` the member is the tensor's name; dtypes numpy lacks keep their raw bits as unsigned integers; a
    string tensor becomes its bytes (uint8) and `NAME//offsets` (int64, one more than strings).

    Raises:
        UsageError: the target won't do (see `check_target`), or the format can hold none of the tensors.
    """
    check_target(listing, len(tensors), target, force=force)
    suffix = Path(target).suffix
    written = Written()
    kept = []
    for tensor in tensors:
        reason = refusal(tensor, suffix)
        if reason:
            written.left_out.append((tensor.name, reason))
        else:
            kept.append(tensor)
    if not kept:
        name, reason = written.left_out[0]
        raise UsageError(f"{name}: {reason}" if len(tensors) == 1 else f"a {suffix} can hold none of these tensors")
    values = _FromSave(session, listing)
    with pending(target, force) as out:
        if suffix == ".npz":
            write_npz(values, kept, out, written)
        elif suffix == ".safetensors":
            write_safetensors(values, kept, out, written, Path(listing.artifact.path).name)
        else:
            _write_npy(values, kept, out, written)
        written.bytes = out.tell()
    return written


@contextlib.contextmanager
def pending(target: str, force: bool) -> Iterator[IO[bytes]]:
    """A temporary file beside the target that takes its name only after a complete write.

    Raises:
        UsageError: nothing can be written there, or the target has appeared meanwhile.
        CkptuiError: the disk is full, or refuses.
    """
    with Pending(os.path.dirname(os.path.abspath(target)), force=force) as files:
        yield files.file(target)
        files.publish([target])


class _FromSave:
    """The values of a save, by its reader children."""

    def __init__(self, session: Session, listing: Listing) -> None:
        self._pool, self._artifact = session.pool, listing.artifact

    def elements(self, tensor: Tensor) -> Iterator[Chunk]:
        return raw(self._pool, self._artifact.path, self._artifact.kind, tensor.name)

    def strings(self, tensor: Tensor) -> tuple[Chunk, Chunk]:
        return strings(self._pool, self._artifact.path, self._artifact.kind, tensor.name, STRING_LIMIT)


def _write_npy(values: Values, tensors: Sequence[Tensor], out: IO[bytes], written: Written) -> None:
    tensor = tensors[0]
    descr = numpy_descr(tensor)
    out.write(npy_header(descr, tensor.shape))
    stream(values, tensor, out, expected_bytes(tensor, descr))
    written.tensors = 1
