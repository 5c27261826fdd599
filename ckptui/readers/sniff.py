"""What a file is, from a bounded look at its bytes. The content decides; a name only says what was promised.

Nothing is parsed beyond magic numbers and a zip's directory, nothing blocks on a FIFO or a device, and HDF5 is
never opened: its kind is a guess from words in its first and last bytes until a reader has listed it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptui.core.model import Kind
from ckptui.readers import magic
from ckptui.readers.state_file import is_state

HEAD = 4104
"""Bytes read of every file: the HDF5 signature may stand as far as 4096."""
WORDS_HEAD = 1 << 20
WORDS_TAIL = 1 << 18
"""How much of an HDF5 file's two ends is searched for Keras' attribute names."""
SIGNATURE_REACH = 1 << 26
"""How far a promised HDF5 signature is looked for behind a user block."""

STATE_LOOK = "checkpoint state file"
SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")


@dataclass(frozen=True, slots=True)
class Sniff:
    """What a file's bytes look like."""

    kind: Kind | None
    """What to read it as; None when it is no save (or of a format that is not read)."""
    looks_like: str = ""
    """`HDF5 file`, `git-lfs pointer`, `PyTorch checkpoint`; empty when nothing is recognised."""
    code: str | None = None
    """The finding it deserves; None when nothing speaks against it."""
    reason: str = ""
    """Why, in words."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    size: int = 0
    modified: float = 0.0


def promise(name: str) -> Kind | None:
    """The kind a file name promises; None for names that promise nothing."""
    lower = name.lower()
    if lower.endswith(".keras"):
        return "keras-archive"
    if lower.endswith(".weights.h5"):
        return "keras-weights"
    if lower.endswith((".h5", ".hdf5")):
        return "hdf5"
    if lower.endswith(".index"):
        return "tf-checkpoint"
    return "saved-model" if name in SAVED_MODEL_FILES else None


def sniff(path: str) -> Sniff:
    """Look at one file; never raises for what is there, never waits for a FIFO or a device."""
    name = os.path.basename(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        return _refused(name, error)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return Sniff(None, file_type(status.st_mode), None, "not a regular file")
        return _Look(handle, name, status).decide()
    except OSError as error:
        return _refused(name, error)
    finally:
        os.close(handle)


def file_type(mode: int) -> str:
    """The plain word for what a mode says: `folder`, `FIFO`, `device`, `socket`, `file`."""
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISFIFO(mode):
        return "FIFO"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device"
    return "socket" if stat.S_ISSOCK(mode) else "file"


def _refused(name: str, error: OSError | ValueError) -> Sniff:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return Sniff(promise(name), "", "unreadable", f"it can't be opened: {reason}")


class _Look:
    """One open file and the few bytes of it that decide."""

    def __init__(self, handle: int, name: str, status: os.stat_result) -> None:
        self.handle = handle
        self.name = name
        self.size = status.st_size
        self.modified = status.st_mtime
        self.promised = promise(name)
        self.head = self.pread(0, HEAD)

    def pread(self, offset: int, count: int) -> bytes:
        return os.pread(self.handle, count, offset)

    def decide(self) -> Sniff:
        if not self.size:
            return self._refuse("empty file", "empty-file", "it has 0 bytes")
        return self._save() or self._other()

    def _save(self) -> Sniff | None:
        offset = self._hdf5_offset()
        if offset is not None:
            kind = self._hdf5_kind()
            return self._in_tar(kind) if offset and _is_tar(self.head) else self._found(kind, "HDF5 file")
        if self.head.startswith(magic.ZIP_LOCAL) or self.promised == "keras-archive":
            archive = self._zip()
            if archive is not None:
                return archive
        if self.size >= 48 and self.pread(self.size - 8, 8) == magic.TABLE_MAGIC:
            first = magic.table_first_key(self.head)
            if first is not None and first[:1] == b"\x0a" and self.promised != "tf-checkpoint":
                return self._found("tf-checkpoint-v1", "V1 checkpoint")
            if self.promised == "tf-checkpoint" or (first is not None and first[:1] == b"\x08"):
                return self._found("tf-checkpoint", "checkpoint index")
        if self.promised is None and magic.is_v1_table(self.head):
            return self._found("tf-checkpoint-v1", "V1 checkpoint")
        if self.promised is None and magic.is_meta_graph(self.pread, self.size, self.head):
            return self._found("meta-graph", "meta graph")
        words = self.name != "saved_model.pbtxt" and _is_text(self.head[:512])
        if self.promised == "saved-model" and not words and not self._foreign()[0]:
            return self._found("saved-model", "SavedModel graph")
        return None

    def _other(self) -> Sniff:
        name = magic.framework(self.head, self.size, self.name)
        if name:
            return self._named(name)
        if self.promised is None and is_state(self.head):
            return Sniff(None, STATE_LOOK, size=self.size, modified=self.modified)
        name, evidence = self._foreign()
        if name or self.promised is None:
            return self._refuse(name, "not-a-model", f"found instead: {name}" if name else "", evidence)
        return self._refuse(*self._unknown())

    def _named(self, name: str) -> Sniff:
        """Another framework's format: told by name, and no model where the file name promises one of ours."""
        facts = self._evidence(name)
        if self.promised:
            reason = f"found instead: {name}"
            return Sniff(self.promised, name, "not-a-model", reason, facts, self.size, self.modified)
        return Sniff(None, name, "unsupported-format", name, facts, self.size, self.modified)

    def _foreign(self) -> tuple[str, dict[str, object]]:
        pointer = magic.lfs_pointer(self.head)
        if pointer is not None:
            return "git-lfs pointer", dict(pointer)
        for signature, what in magic.MANGLED_HDF5:
            if self.head.startswith(signature):
                return what, {"text_mangled": True}
        if magic.is_page(self.head):
            return "web page or error message", {}
        return magic.wrapped(self.head), {}

    def _unknown(self) -> tuple[str, str, str]:
        """What to say about a promising name over bytes that nothing recognises."""
        if not any(self.head):
            what, reason = "zeros", f"its first {len(self.head)} bytes are zeros"
        elif _is_text(self.head[:512]):
            return "text", "not-a-model", "found instead: text"
        else:
            what, reason = "", "its first bytes belong to no known format"
        if self.promised == "tf-checkpoint":
            what = what or magic.mangled_table(self.pread(max(0, self.size - 64), 64))
            if what and what != "zeros":
                return what, "not-a-model", f"found instead: {what}"
            return what, "index-damaged", reason if what else "it does not end like an index"
        if self.promised == "keras-archive":
            return what, "zero-filled" if not any(self.head) else "not-a-model", reason
        structure = any(word in self.head for word in (b"TREE", b"HEAP", b"SNOD", b"OHDR"))
        if structure:
            reason = "its HDF5 signature is gone, but HDF5 structures follow"
        elif what and not any(self.pread(max(0, self.size - HEAD), HEAD)):
            return what, "zero-filled", f"{reason}, and the last ones"
        return what, "hdf5-damaged" if structure or what else "not-a-model", reason

    def _refuse(self, looks_like: str, code: str, reason: str, evidence: Mapping[str, object] | None = None) -> Sniff:
        if self.promised is None:
            return Sniff(None, looks_like, None, reason, size=self.size, modified=self.modified)
        facts = self._evidence(looks_like) | dict(evidence or {})
        return Sniff(self.promised, looks_like, code, reason, facts, self.size, self.modified)

    def _found(self, kind: Kind, looks_like: str) -> Sniff:
        return Sniff(kind, looks_like, size=self.size, modified=self.modified)

    def _in_tar(self, kind: Kind) -> Sniff:
        """A save inside an archive that is not compressed: readers may find it there, and should not have to."""
        facts = self._evidence("tar archive")
        reason = "found instead: tar archive with the save inside"
        return Sniff(kind, "tar archive", "not-a-model", reason, facts, self.size, self.modified)

    def _evidence(self, looks_like: str) -> dict[str, object]:
        return {"looks_like": looks_like, "bytes": self.size, "head": self.head[:16].hex()}

    def _hdf5_offset(self) -> int | None:
        far = self.promised in ("hdf5", "keras-weights", "keras-archive")
        reach = min(self.size, SIGNATURE_REACH if far else HEAD)
        offset = 0
        while offset + 8 <= reach:
            near = offset + 8 <= len(self.head)
            if (self.head[offset : offset + 8] if near else self.pread(offset, 8)) == magic.HDF5_SIGNATURE:
                return offset
            offset = offset * 2 or 512
        return None

    def _hdf5_kind(self) -> Kind:
        words = self.pread(0, WORDS_HEAD)
        if self.size > WORDS_HEAD:
            words += self.pread(max(WORDS_HEAD, self.size - WORDS_TAIL), WORDS_TAIL)
        if b"model_config" in words:
            return "keras-h5"
        if b"layer_names" in words or b"nb_layers" in words or self.promised == "keras-weights":
            return "keras-weights"
        grouped = b"layers" in words or b"_layer_checkpoint_dependencies" in words
        return "keras-weights" if grouped and b"vars\x00" in words else "hdf5"

    def _zip(self) -> Sniff | None:
        names = magic.zip_names(self.pread, self.size)
        promised = self.promised == "keras-archive"
        if names is None:
            first = magic.first_zip_member(self.head)
            if first in ("metadata.json", "config.json", "model.weights.h5"):
                facts = self._evidence("cut-off .keras archive")
                reason = "it has no end record: the archive is cut off"
                return Sniff("keras-archive", "zip archive", "zip-damaged", reason, facts, self.size, self.modified)
            if self.head.startswith(magic.ZIP_LOCAL):
                return self._refuse("zip archive", "zip-damaged", "it has no end record: the archive is cut off")
            return None
        members = set(names)
        parts = {"config.json", "metadata.json", "model.weights.h5", "model.weights.npz"} & members
        if (promised and parts) or len(parts) >= 2 or "model.weights.h5" in parts:
            packed = _is_tar(self.head)
            return self._in_tar("keras-archive") if packed else self._found("keras-archive", ".keras archive")
        if any(name.endswith("/data.pkl") or name == "data.pkl" for name in members):
            return self._named("PyTorch checkpoint (zip)")
        what = "NumPy archive" if names and all(n.endswith(".npy") for n in names) else "zip archive"
        return self._refuse(what, "not-a-model", f"found instead: {what} without a Keras model in it")


def _is_tar(head: bytes) -> bool:
    return magic.wrapped(head[:512]) == "tar archive"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char in "\r\n\t\f" for char in text)
