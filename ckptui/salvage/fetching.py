"""The bytes of salvaged tensors, from reader children, the way the writers want them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crc32c import crc32c

from ckptui.array_files import Chunk
from ckptui.core.model import Kind, Tensor
from ckptui.core.salvage import SalvageItem
from ckptui.engine.facts import pack
from ckptui.engine.pool import Pool, Reply
from ckptui.engine.requests import streamed
from ckptui.errors import ReaderFailed


class Fetcher:
    """Asks for one tensor after another. It is a `Values` for the writers of array files."""

    def __init__(
        self,
        pool: Pool,
        path: str,
        kind: Kind,
        items: Mapping[str, SalvageItem],
        cancel: threading.Event | None,
        beat: Callable[[str, int], None],
    ) -> None:
        """`items`: what will be asked for, by name; `beat` is called with the name and bytes of every piece."""
        self._pool, self._path, self._kind = pool, path, kind
        self._items = items
        self._cancel = cancel
        self._beat = beat
        self.size = 0
        """Bytes of the last tensor that came to its end."""
        self.crc = 0
        """Its checksum as the entry of a checkpoint has it, unmasked."""

    def stored(self, name: str) -> Iterator[Chunk]:
        """A tensor as a checkpoint stores it; `size` and `crc` are its own when it has come to its end.

        Raises:
            CkptuiError: its bytes can't be had, or are no longer what they were.
        """
        crc, size = 0, 0
        answer: Any = None
        for what, piece in self._ask(name, "bundle"):
            if what == "answer":
                answer = piece
            else:
                crc = crc32c(piece, crc)
                size += len(piece)
                yield piece
        tensor = self._tensor(name)
        if not isinstance(answer, dict) or answer.get("bytes") != size or type(answer.get("crc")) is not int:
            raise ReaderFailed(f"{name}: the answer and the bytes that came differ")
        running = tensor.dtype in ("string", "variant")
        if not running and answer["crc"] != crc:
            raise ReaderFailed(f"{name}: its bytes were changed on their way")
        self.size, self.crc = size, answer["crc"] & 0xFFFFFFFF

    def elements(self, tensor: Tensor) -> Iterator[Chunk]:
        """The elements of a tensor of a fixed-size dtype, C order, little-endian."""
        for what, piece in self._ask(tensor.name, "bundle"):
            if what != "answer":
                yield piece

    def strings(self, tensor: Tensor) -> tuple[Chunk, Chunk]:
        """All bytes of a string tensor, and the int64 offset of each string and of the end."""
        parts: dict[str, bytearray] = {"text": bytearray(), "offsets": bytearray()}
        for what, piece in self._ask(tensor.name, "array"):
            if what in parts:
                parts[what] += piece
        return parts["text"], parts["offsets"]

    def _tensor(self, name: str) -> Tensor:
        tensor = self._items[name].source
        assert tensor is not None
        return tensor

    def _ask(self, name: str, form: str) -> Iterator[tuple[str, Any]]:
        """(what, piece) of everything that comes, the answer at the end."""
        item = self._items[name]
        args = {
            "path": self._path,
            "kind": self._kind,
            "tensor": pack(self._tensor(name)),
            "repairs": [[repair.part, repair.byte, repair.bit] for repair in item.repairs],
            "holes": list(item.holes),
            "form": form,
        }
        for event in streamed(self._pool, "stored", args, self._cancel):
            if isinstance(event, Reply):
                yield "answer", event.doc
            elif event.kind == "event":
                for blob in event.blobs:
                    yield str(event.doc), blob
                    self._beat(name, len(blob))
