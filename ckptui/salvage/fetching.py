"""The bytes of salvaged tensors, from reader children, the way the writers want them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crc32c import crc32c

from ckptui.array_files import Chunk
from ckptui.core.model import Kind, Tensor
from ckptui.core.salvage import SalvageItem
from ckptui.engine.facts import pack
from ckptui.engine.pool import Event, Pool, Reply
from ckptui.engine.process import reported_error
from ckptui.engine.requests import streamed
from ckptui.errors import CkptuiError, ReaderFailed

SMALL = 1 << 16
"""Tensors up to this size come many in one request."""
BATCH = 500
"""How many at most."""


class Fetcher:
    """Asks for one tensor after another. It is a `Values` for the writers of array files."""

    def __init__(
        self,
        pool: Pool,
        path: str,
        kind: Kind,
        items: Mapping[str, SalvageItem],
        order: Sequence[str],
        cancel: threading.Event | None,
        beat: Callable[[str, int], None],
    ) -> None:
        """`order`: the names that will be asked for; `beat` is called with the name and bytes of every piece."""
        self._pool, self._path, self._kind = pool, path, kind
        self._items = items
        self._cancel = cancel
        self._beat = beat
        self._order = list(order)
        self._places = {name: place for place, name in enumerate(self._order)}
        self._ahead: dict[str, tuple[Chunk, int] | CkptuiError] = {}
        self.size = 0
        """Bytes of the last tensor that came to its end."""
        self.crc = 0
        """Its checksum as the entry of a checkpoint has it, unmasked."""

    def stored(self, name: str) -> Iterator[Chunk]:
        """A tensor as a checkpoint stores it; `size` and `crc` are its own when it has come to its end.

        Raises:
            CkptuiError: its bytes can't be had, or are no longer what they were.
        """
        if self._is_small(name):
            content, self.crc = self._small(name)
            self.size = len(content)
            yield content
            return
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
        if self._is_small(tensor.name):
            yield self._small(tensor.name)[0]
            return
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

    def _is_small(self, name: str) -> bool:
        item = self._items[name]
        return item.bytes <= SMALL and not item.holes and item.source is not None

    def _small(self, name: str) -> tuple[Chunk, int]:
        """The bytes and checksum of a small tensor; those that will be wanted after it come along."""
        if name not in self._ahead:
            place = self._places[name]
            batch = [n for n in self._order[place : place + BATCH] if self._is_small(n)]
            self._ahead = {}
            args = {"path": self._path, "kind": self._kind, "many": [self._request(n, "bundle") for n in batch]}
            for event in streamed(self._pool, "stored_many", args, self._cancel):
                if not isinstance(event, Reply) and event.kind == "event":
                    self._keep(batch, event)
        kept = self._ahead.pop(name, None)
        if kept is None:
            raise ReaderFailed(f"{name}: it gave no bytes")
        if isinstance(kept, CkptuiError):
            raise kept
        self._beat(name, len(kept[0]))
        return kept

    def _keep(self, batch: Sequence[str], event: Event) -> None:
        doc = event.doc
        if not isinstance(doc, dict) or type(doc.get("place")) is not int or not 0 <= doc["place"] < len(batch):
            # a sign of life
            return
        name = batch[doc["place"]]
        if isinstance(doc.get("error"), dict):
            self._ahead[name] = reported_error(doc["error"])
            return
        content: Chunk = event.blobs[0] if event.blobs else b""
        running = self._tensor(name).dtype in ("string", "variant")
        if doc.get("bytes") != len(content) or not (running or doc.get("crc") == crc32c(content)):
            raise ReaderFailed(f"{name}: its bytes were changed on their way")
        self._ahead[name] = content, int(doc["crc"]) & 0xFFFFFFFF

    def _request(self, name: str, form: str) -> dict[str, Any]:
        item = self._items[name]
        return {
            "tensor": pack(self._tensor(name)),
            "repairs": [[repair.part, repair.byte, repair.bit] for repair in item.repairs],
            "holes": list(item.holes),
            "form": form,
        }

    def _ask(self, name: str, form: str) -> Iterator[tuple[str, Any]]:
        """(what, piece) of everything that comes, the answer at the end."""
        args = {"path": self._path, "kind": self._kind, **self._request(name, form)}
        for event in streamed(self._pool, "stored", args, self._cancel):
            if isinstance(event, Reply):
                yield "answer", event.doc
            elif event.kind == "event":
                for blob in event.blobs:
                    yield str(event.doc), blob
                    self._beat(name, len(blob))
