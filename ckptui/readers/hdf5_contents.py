"""One HDF5 file (or a part of a file that is one) taken in: every dataset's facts, Keras' attributes, the values.

Runs in the reader child only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE, np_dtype
from ckptui.core.model import Finding, Storage, Tensor
from ckptui.core.text import human_bytes, safe
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, UsageError
from ckptui.readers.hdf5_open import Opened, open_hdf5, zero_tail
from ckptui.readers.hdf5_symbols import restore_names
from ckptui.readers.hdf5_types import BOMB_RATIO, Described, Extent, describe
from ckptui.readers.hdf5_values import dataset_chunks, longest_string
from ckptui.readers.hdf5_walk import (
    HDF5_ERRORS,
    Item,
    attribute,
    names_attribute,
    reason,
    text_attribute,
    to_bytes,
    walk,
)
from ckptui.readers.keras_findings import in_words, limited, listed, note
from ckptui.readers.keras_layout import TOP_LEVEL, Attributes
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
_ROOT_TEXTS = ("keras_version", "backend", "model_config")

Tick = Callable[[], None]


class Contents:
    """The datasets of one HDF5 file, read through h5py where need be and by position where possible."""

    def __init__(self, source: Bytes, start: int = 0, available: int | None = None, *, label: str = "") -> None:
        """Opens at once; raises Damaged (`hdf5-damaged`) only where there is no HDF5 signature."""
        self.source = source
        self.label = label
        self.opened: Opened = open_hdf5(source, start, available, label=label)
        self.findings: list[Finding] = []
        self.described: dict[str, Described] = {}
        """Every dataset by path, and what is in the place of one but can't be opened."""
        self.attributes = Attributes()
        self.texts: dict[str, str] = {}
        self.promised: list[str] = []
        """Paths the architecture makes expect, in the order Keras writes them; for groups that lost their names."""
        self._mended = False
        self._restored: dict[str, Finding] = {}
        self.unreadable: set[str] = set()
        """Root attributes that are there but can't be read."""
        """The root's text attributes: `keras_version`, `backend`, `model_config`."""
        room = max(0, source.size - start)
        self._extent = Extent(
            path=source.path,
            start=start if isinstance(source, Source) else None,
            available=room if available is None else min(available, room),
            cut=self.opened.cut,
        )

    def read(self, tick: Tick | None = None) -> None:
        """Walk the file; damage becomes rows with a problem and findings. Raises ChangedWhileReading."""
        problems = self._walk(tick)
        for _ in range(MAX_ROUNDS):
            if not self._mended:
                break
            # HDF5 has the lost names in its cache: only a new look sees the ones that were given back.
            self.opened.reopen()
            problems = self._walk(tick)
        if problems and not self.opened.cut:
            problems = [*self._zeros(), *problems]
        self.source.fence()
        self.findings = [*self.opened.findings, *self._restored.values(), *limited(problems)]

    def _walk(self, tick: Tick | None) -> list[Finding]:
        self.described.clear()
        self.attributes = Attributes()
        self.texts.clear()
        self._mended = False
        problems: list[Finding] = []
        if self.opened.file is None:
            return problems
        try:
            for item in walk(self.opened.file.id, self._hints, tick or (lambda: None)):
                self._take(item, problems)
        except HDF5_ERRORS as error:
            problems.append(self._damage(f"its root can't be read: {reason(error)}"))
        return problems + self._window_problems()

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

    def _take(self, item: Item, problems: list[Finding]) -> None:
        if item.kind == "group":
            self._group(item, problems)
            return
        if item.kind == "dataset":
            facts = describe(item.handle, self._extent)
        elif item.kind == "external":
            text = f"external link to {safe(item.text)}, not followed"
            facts = Described("unknown", (), 0, Storage("none"), text, "external-reference", {"target": item.text})
        elif item.kind == "broken":
            text = f"can't be opened{self._likely_cause()}: {item.text}"
            facts = Described("unknown", (), 0, Storage("none"), text, "hdf5-damaged")
        else:
            where = f"the links in /{safe(item.path, 200)} can't all be listed{self._likely_cause()}: "
            problems.append(self._damage((where if item.kind == "unlisted" else "") + item.text))
            return
        self.described[item.path] = facts
        if facts.code and facts.code != "unsupported-format":
            detail = f"{safe(item.path, 200)}: {facts.problem}"
            title = "A dataset can't be read" if facts.code == "hdf5-damaged" else None
            problems.append(
                note(
                    facts.code,
                    self.source.path,
                    detail,
                    tensor=item.path,
                    evidence=facts.evidence,
                    title=title,
                )
            )

    def _likely_cause(self) -> str:
        return ", most likely cut off" if self.opened.cut else ""

    def _group(self, item: Item, problems: list[Finding]) -> None:
        """Take in the attributes Keras writes to groups."""

        def read(name: str, how: Callable[[Any, str], Any]) -> Any:
            try:
                return how(item.handle, name)
            except (*HDF5_ERRORS, Damaged) as error:
                if not item.path:
                    self.unreadable.add(name)
                where = f"/{safe(item.path, 200)}"
                problems.append(self._damage(f"attribute {name} of {where}: {reason(error)}"))
                return None

        found = self.attributes
        if not item.path:
            for name in _ROOT_TEXTS:
                text = read(name, text_attribute)
                if text is not None:
                    self.texts[name] = text
            found.numbered = read("nb_layers", attribute) is not None
        if item.path in ("", "model_weights"):
            layers = read("layer_names", names_attribute)
            if layers is not None:
                found.layer_names[item.path] = layers
                self._mark_legacy()
        elif item.path == "vars" or item.path.endswith("/vars"):
            own = read("name", text_attribute)
            if own is not None:
                found.names[item.path] = own
                return
        weights = read("weight_names", names_attribute)
        if weights is not None:
            found.weight_names[item.path] = weights

    def _hints(self, path: str, address: int) -> list[str]:
        """Names a damaged group should have, in the order Keras made them; gives it them back if they are lost."""
        prefix = path + "/" if path else ""
        if path == "vars" or path.endswith("/vars"):
            names = [str(number) for number in range(MAX_NUMBERED)]
        else:
            found = (one[len(prefix) :].partition("/")[0] for one in self._paths() if one.startswith(prefix))
            names = list(dict.fromkeys(part for part in found if part))
        block = self.opened.superblock
        lost = names and path not in self._restored and block.width == block.lengths == 8
        if lost and restore_names(self.opened.window, block.at, address, [to_bytes(name) for name in names]):
            self._mended = True
            detail = f"the names in /{safe(path, 200)} are lost; they follow from the layers Keras lists elsewhere"
            self._restored[path] = note(
                "hdf5-damaged",
                self.source.path,
                detail,
                severity="warning",
                certainty="likely",
                title="Lost names given back",
            )
        return names

    def _paths(self) -> Iterator[str]:
        """Paths promised by Keras' attributes, then by the architecture."""
        found = self.attributes
        for group, layers in found.layer_names.items():
            for name in [*layers, TOP_LEVEL]:
                yield f"{group}/{name}" if group else name
        for group, weights in found.weight_names.items():
            for name in weights:
                yield f"{group}/{name}" if group else name
        yield from self.promised

    def _mark_legacy(self) -> None:
        old = self._extent
        self._extent = Extent(old.path, old.start, old.available, old.cut, legacy_keras=True)

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
        try:
            dataset = h5d.open(opened.file.id, to_bytes(tensor.name))
            facts = describe(dataset, self._extent)
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
            raise Damaged(f"{safe(tensor.name)}: {reason(error)}", code="hdf5-damaged") from None
        finally:
            opened.window.guard(True)

    def _window_problems(self) -> list[Finding]:
        """What the window met: bytes that could not be read, string heaps that had to be hidden."""
        problems = []
        try:
            self.opened.window.check()
        except ChangedWhileReading:
            raise
        except CkptuiError as error:
            problems.append(self._damage(f"could not be read everywhere: {error.detail}"))
        for heap in sorted(self.opened.window.broken_heaps):
            problems.append(self._damage(f"the text stored at byte {heap} (a global heap) is damaged"))
        return problems

    def _zeros(self) -> list[Finding]:
        """The likely cause of damage in a file that ends in zeros."""
        extent = self._extent
        zeros = zero_tail(self.source, extent.start or 0, extent.available)
        if not zeros:
            return []
        begin = extent.available - zeros
        where = f"{self.label}: " if self.label else ""
        detail = f"{where}only zeros from byte {begin} to the end ({human_bytes(zeros)})"
        facts = {"offset": begin, "bytes": zeros, "file": extent.path}
        return [note("zero-filled", extent.path, detail, evidence=facts, certainty="likely")]

    def _damage(self, detail: str) -> Finding:
        where = f"{self.label}: " if self.label else ""
        return note("hdf5-damaged", self.source.path, where + detail)

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
