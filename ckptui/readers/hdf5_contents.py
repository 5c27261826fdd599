"""One HDF5 file (or a part of a file that is one) taken in: every dataset's facts, Keras' attributes, the values.

Runs in the reader child only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE, np_dtype
from ckptui.core.model import Finding, Tensor
from ckptui.core.text import human_bytes, safe
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, UsageError
from ckptui.readers.hdf5_address import open_at
from ckptui.readers.hdf5_causes import Damage
from ckptui.readers.hdf5_chunks import check_chunks
from ckptui.readers.hdf5_classes import class_fault
from ckptui.readers.hdf5_intake import Intake, Loss
from ckptui.readers.hdf5_open import Opened, open_hdf5
from ckptui.readers.hdf5_rescue import Rescue, carve, look_closer
from ckptui.readers.hdf5_structures import LAYOUT, SIGNATURES, Structures
from ckptui.readers.hdf5_symbols import restore_names
from ckptui.readers.hdf5_types import BOMB_RATIO, Described, Extent, describe
from ckptui.readers.hdf5_values import dataset_chunks, longest_string
from ckptui.readers.hdf5_walk import HDF5_ERRORS, Item, reason, to_bytes, walk
from ckptui.readers.keras_findings import in_words, listed, note
from ckptui.readers.keras_layout import Attributes
from ckptui.readers.source import Source
from ckptui.readers.window import Bytes

if TYPE_CHECKING:
    import numpy as np

MAX_ARRAY_BYTES = 4 << 30
"""Most that `array` puts into memory."""
MAX_UNPACKED_BYTES = 256 << 20
"""Up to here, what is compressed may be unpacked whole however small it is in the file."""
ARRAY_STEP = 16 << 20
MAX_NUMBERED = 2000
"""Variables tried in a group whose names are lost."""
MAX_ROUNDS = 8
"""Times a file is walked again after names were given back."""

Tick = Callable[[], None]


class Contents:
    """The datasets of one HDF5 file, read through h5py where need be and by position where possible."""

    def __init__(self, source: Bytes, start: int = 0, available: int | None = None, *, label: str = "") -> None:
        """Opens at once; raises Damaged (`hdf5-damaged`) only where there is no HDF5 signature."""
        self.source = source
        self.label = label
        self.opened: Opened = open_hdf5(source, start, available, label=label)
        self.promised: list[str] = []
        """Paths the architecture makes expect, in the order Keras writes them; for groups that lost their names."""
        room = max(0, source.size - start)
        self._extent = Extent(
            path=source.path,
            start=start if isinstance(source, Source) else None,
            available=room if available is None else min(available, room),
            cut=self.opened.cut,
        )
        self._intake = Intake(self._extent)
        self._rescue = Rescue()
        self._mended = False
        self._restored: list[str] = []
        self._missing: Mapping[str, Any] = {}

    @property
    def described(self) -> dict[str, Described]:
        """Every dataset by path, and what is in the place of one but can't be opened."""
        return self._intake.described

    @property
    def attributes(self) -> Attributes:
        """What Keras wrote to the groups."""
        return self._intake.attributes

    @property
    def texts(self) -> dict[str, str]:
        """The root's text attributes: `keras_version`, `backend`, `model_config`."""
        return self._intake.texts

    @property
    def unreadable(self) -> set[str]:
        """Root attributes that are there but can't be read."""
        return self._intake.unreadable

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the file, the cause first."""
        return self._damage().findings()

    def read(self, tick: Tick | None = None) -> None:
        """Walk the file; damage becomes rows with a problem and findings. Raises ChangedWhileReading."""
        alive = tick or (lambda: None)
        self._walk(alive)
        odd = self.opened.window.free_lists or self.opened.window.emptied
        if self._intake.losses or self.opened.error or odd or self._intake.is_incomplete():
            self._look_again(alive)
        absent = self._intake.absent()
        self._missing = listed(absent) if absent else {}
        self.source.fence()

    @property
    def explains(self) -> bool:
        """Whether the file is cut off, unfinished or zero-filled, so that nothing else needs a cause of its own."""
        return self._damage().explains

    def missed(self, weights: Mapping[str, Any]) -> bool:
        """Take note of weights (`count`, `names`) the file should have and does not show; False where no damage
        costs any."""
        damage = self._damage()
        # a structure that could not be mended may have held the link to them
        harmed = damage.harmed or any(not fault.mended for fault in self._rescue.faults)
        if harmed:
            self._missing = weights
        return harmed or damage.unnamed_weights

    def _look_again(self, alive: Tick) -> None:
        """Mend and find what can be, then walk once more."""
        self.opened.mend_node_sizes()
        self._rescue = look_closer(self.opened, self.source, self._intake, self.promised, alive)
        begin = self._rescue.zeros_from
        if begin is not None:
            self._extent = replace(self._extent, available=begin, zeros=True)
        if self._rescue.faults or begin is not None or self.opened.flaws:
            self._walk(alive, again=True)
        if self._damage().harmed or self._rescue.faults:
            # Datasets deleted on purpose leave their headers behind: they are of use only where something was lost.
            carve(self.opened, self._rescue, self._intake, alive)

    def _walk(self, alive: Tick, *, again: bool = False) -> None:
        """Walk until no more names are given back; `again` after the window has come to show something else."""
        for round_ in range(MAX_ROUNDS):
            if again or round_:
                # HDF5 has the lost bytes in its cache: only a new look sees the ones that were given back.
                self.opened.reopen()
            self._mended = False
            self._intake = Intake(self._extent)
            if self.opened.file is None:
                return
            structures = Structures(self.opened.window, self.opened.superblock.at)
            try:
                for item in walk(self.opened.file.id, self._hints, alive):
                    self._intake.take(item if item.kind != "type" else _as_type(structures, item))
                    if item.kind == "dataset" and class_fault(structures, item.address) is not None:
                        self._intake.odd_types.append(item.address)
            except HDF5_ERRORS as error:
                self._intake.losses.append(Loss("root", "", reason(error), 0))
            self._window_losses()
            if not self._mended:
                return

    def _damage(self) -> Damage:
        extent = self._extent
        return Damage(
            opened=self.opened,
            intake=self._intake,
            rescue=self._rescue,
            path=self.source.path,
            label=self.label,
            start=extent.start or 0,
            available=self.opened.window.available,
            restored=tuple(self._restored),
            missing=self._missing,
        )

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[np.ndarray]:
        """The tensor's values in C order, 1-D, native order, at most `chunk_bytes` each (strings: as objects).

        Raises Damaged for what can't be read, ChangedWhileReading where the file is not the one listed.
        """
        if tensor.problem:
            raise Damaged(f"{safe(tensor.name)}: {tensor.problem}", code="hdf5-damaged")
        self.source.fence()
        if tensor.storage.encoding == "plain" and tensor.storage.segment is not None:
            yield from self._plain(tensor, chunk_bytes)
        elif tensor.count:
            yield from self._through_hdf5(tensor, chunk_bytes)
        self.source.fence()

    def array(self, tensor: Tensor) -> np.ndarray:
        """The whole tensor with its shape; raises as `chunks` does, UsageError for more than fits in memory."""
        import numpy as np

        size = tensor.count * ITEMSIZE.get(tensor.dtype, 1)
        packed = tensor.storage.encoding != "plain"
        most = max(MAX_UNPACKED_BYTES, BOMB_RATIO * tensor.bytes) if packed else MAX_ARRAY_BYTES
        if not tensor.problem and size > min(most, MAX_ARRAY_BYTES):
            raise UsageError(f"{safe(tensor.name)} holds {human_bytes(size)}, too much for memory at once")
        whole: np.ndarray | None = None
        done = 0
        for piece in self.chunks(tensor, ARRAY_STEP):
            if whole is None:
                whole = np.empty(tensor.count, dtype=piece.dtype)
            whole[done : done + piece.size] = piece
            done += piece.size
        if whole is None:
            kind = np_dtype(tensor.dtype) if tensor.dtype in ITEMSIZE else np.dtype(object)
            whole = np.zeros(tensor.count, dtype=kind)
        return whole.reshape(tensor.shape)

    def close(self) -> None:
        """Close HDF5's side; the source stays the caller's."""
        self.opened.close()

    def _hints(self, path: str, address: int) -> list[str]:
        """Names a damaged group should have, in the order Keras made them; gives it them back if they are lost."""
        prefix = path + "/" if path else ""
        if path == "vars" or path.endswith("/vars"):
            names = [str(number) for number in range(MAX_NUMBERED)]
        else:
            found = (
                one[len(prefix) :].partition("/")[0]
                for one in (*self._intake.promised(), *self.promised)
                if one.startswith(prefix)
            )
            names = list(dict.fromkeys(part for part in found if part))
        block = self.opened.superblock
        lost = names and path not in self._restored and block.width == block.lengths == 8
        if lost and restore_names(self.opened.window, block.at, address, [to_bytes(name) for name in names]):
            self._mended = True
            self._restored.append(path)
        return names

    def _plain(self, tensor: Tensor, chunk_bytes: int) -> Iterator[np.ndarray]:
        import numpy as np

        segment = tensor.storage.segment
        if segment is None:
            return
        kind = np_dtype(tensor.dtype)
        step = max(kind.itemsize, chunk_bytes - chunk_bytes % kind.itemsize)
        for at in range(0, segment.bytes, step):
            raw = self.source.pread(segment.offset + at, min(step, segment.bytes - at))
            values = np.frombuffer(raw, dtype=kind)
            yield values.byteswap() if tensor.storage.big_endian else values

    def _through_hdf5(self, tensor: Tensor, chunk_bytes: int) -> Iterator[np.ndarray]:
        from h5py import h5d

        opened = self.opened
        if opened.file is None:
            raise Damaged(f"{safe(tensor.name)}: the file can't be opened", code="hdf5-damaged")
        dataset = None
        address = self._rescue.carved.get(tensor.name)
        try:
            if address is None:
                dataset = h5d.open(opened.file.id, to_bytes(tensor.name))
            else:
                dataset = open_at(opened.file.id, address)
            facts = describe(dataset, self._intake.extent)
            if facts.problem or (facts.dtype, facts.shape) != (tensor.dtype, tensor.shape):
                raise ChangedWhileReading(f"{self.source.path}: {safe(tensor.name)} is not what was listed")
            longest = longest_string(dataset, opened.window.raw) if tensor.dtype == "string" else 0
            if longest > self.source.size:
                raise Damaged(f"{safe(tensor.name)}: a string of {longest} bytes", code="hdf5-damaged")
            # Strings come through heaps, everything else must come as it is.
            opened.window.guard(tensor.dtype == "string")
            for values in dataset_chunks(dataset, tensor.dtype, chunk_bytes, self.source.size):
                opened.window.check()
                yield values
        except HDF5_ERRORS as error:
            opened.window.check()
            words = reason(error)
            check_chunks(dataset, tensor.name, self.source.path, opened.window, self._extent.start or 0, words)
            told: dict[str, object] = {"tensorflow_says": words, "file": self.source.path}
            raise Damaged(f"{safe(tensor.name)}: {words}", code="hdf5-damaged", evidence=told) from None
        finally:
            opened.window.guard(True)

    def _window_losses(self) -> None:
        """Note bytes that could not be read; raises ChangedWhileReading."""
        try:
            self.opened.window.check()
        except ChangedWhileReading:
            raise
        except CkptuiError as error:
            self._intake.losses.append(Loss("text", "", f"could not be read everywhere: {error.detail}"))

    def unsupported(self) -> list[Finding]:
        """One finding for each HDF5 filter that is missing here, with the datasets that need it."""
        by_filter: dict[str, list[str]] = {}
        for name, facts in self.described.items():
            if facts.code == "unsupported-format":
                by_filter.setdefault(str(facts.evidence.get("filter")), []).append(name)
        return [
            note(
                "unsupported-format",
                self.source.path,
                f"HDF5 filter {which}: {in_words(names)} can't be read without it",
                evidence={"filter": which, **listed(names)},
                title="An HDF5 filter ckptui does not have",
                advice="Read it where the filter's plug-in (hdf5plugin) is installed.",
            )
            for which, names in by_filter.items()
        ]


def _as_type(structures: Structures, item: Item) -> Item:
    """A named datatype, or the dataset that HDF5 takes for one since its header is damaged."""
    found = structures.messages(item.address)
    old = structures.read(item.address, 2) == SIGNATURES["header"]
    if old and (found is None or LAYOUT in {message.kind for message in found}):
        return replace(item, kind="broken", handle=None, text="its object header lacks what a dataset has")
    return item
