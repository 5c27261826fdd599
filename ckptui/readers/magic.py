"""First and last bytes of formats a training box holds, and what they say. No file is opened here.

HDF5: the signature may stand at 0, 512, 1024 and every doubling (HDF5 File Format Specification, II.A).
SSTable: the LevelDB table footer. ZIP: APPNOTE.TXT 4.3. Others by the magic numbers of their own specifications.
"""

from __future__ import annotations

import re
from collections.abc import Callable

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
ZIP_LOCAL = b"PK\x03\x04"
ZIP_CENTRAL = b"PK\x01\x02"
ZIP_END = b"PK\x05\x06"
ZIP64_END, ZIP64_END_SIZE = b"PK\x06\x06", 56
ZIP64_LOCATOR, ZIP64_LOCATOR_SIZE = b"PK\x06\x07", 20
PYTORCH_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
RIEGELI = bytes.fromhex("83af70d10d884a3f0000000000000000400000000000000091bac23c9287e1a9")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

DIRECTORY_CAP = 16 << 20
"""Most bytes of a zip's central directory that are looked at."""

Reader = Callable[[int, int], bytes]
"""pread: (offset, count) to at most `count` bytes."""

MANGLED_HDF5: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\r\n\x1a\r\n", "an HDF5 file with its line ends turned into CRLF (a text-mode copy)"),
    (b"\x89HDF\n\x1a\n", "an HDF5 file with its CRLFs turned into LF (a text-mode copy)"),
    (b"\x09HDF\r\n\x1a\n", "an HDF5 file whose eighth bits were stripped"),
    (b"\xc2\x89HDF", "an HDF5 file re-encoded as UTF-8 text"),
    (b"\xef\xbf\xbdHDF", "an HDF5 file re-encoded as UTF-8 text"),
)
"""What text-mode and text-encoding copies turn the HDF5 signature into: it was designed to show them."""

_WRAPPED: dict[bytes, str] = {
    b"\x1f\x8b": "gzip archive",
    b"BZh": "bzip2 archive",
    b"\x28\xb5\x2f\xfd": "zstd archive",
    b"\xfd7zXZ\x00": "xz archive",
    b"7z\xbc\xaf\x27\x1c": "7-zip archive",
    b"\x93NUMPY": "NumPy array file",
    b"GIF8": "GIF image",
    b"\x89PNG": "PNG image",
    b"\xff\xd8\xff": "JPEG image",
    b"%PDF": "PDF document",
    b"\x7fELF": "ELF program",
    b"SQLite format 3\x00": "SQLite database",
}
_FIRST_BYTES = tuple(_WRAPPED)

_PAGE = re.compile(rb"\s*(?:<!doctype|<html|<\?xml|<head|\{\s*\"(?:message|error)\")", re.IGNORECASE)
_ONNX_PRODUCERS = re.compile(
    rb"\x08[\x01-\x1e]\x12[\x02-\x40](?:pytorch|tf2onnx|keras2onnx|skl2onnx|onnx|CNTK|winmltools|paddle|backend-test)"
)


def wrapped(head: bytes) -> str:
    """The name of an archive, image or other plain format these first bytes belong to; empty where none."""
    if head.startswith(_FIRST_BYTES):
        return next(name for magic, name in _WRAPPED.items() if head.startswith(magic))
    return "tar archive" if head.startswith(b"ustar", 257) else ""


def mangled_table(tail: bytes) -> str:
    """What a copy did to the table whose last bytes are `tail`; empty where nothing is recognised."""
    stripped = bytes(byte & 0x7F for byte in TABLE_MAGIC)
    as_text = TABLE_MAGIC.decode("utf-8", "replace").encode("utf-8")
    for ending, what in (
        (stripped, "a checkpoint index whose eighth bits were stripped"),
        (TABLE_MAGIC.decode("latin-1").encode("utf-8"), "a checkpoint index re-encoded as UTF-8 text"),
        (as_text, "a checkpoint index decoded as text: what was no text is lost"),
    ):
        if tail.endswith(ending):
            return what
    return ""


def is_page(head: bytes) -> bool:
    """Whether a web page, an XML or a JSON error answer stands where a file should."""
    return _PAGE.match(head) is not None


def lfs_pointer(head: bytes) -> dict[str, str | int] | None:
    """The `sha256` and `size` of the real file when `head` is a git-lfs pointer; None when it is none."""
    if not head.startswith(LFS_POINTER):
        return None
    found: dict[str, str | int] = {}
    oid = re.search(rb"^oid sha256:([0-9a-f]{64})", head, re.MULTILINE)
    size = re.search(rb"^size ([0-9]{1,18})", head, re.MULTILINE)
    if oid:
        found["sha256"] = oid[1].decode()
    if size:
        found["size"] = int(size[1])
    return found


def framework(head: bytes, size: int, name: str) -> str:
    """The name of another framework's model format; empty where `head` is none of them."""
    if head[4:8] == b"TFL3":
        return "TensorFlow Lite model"
    if head.startswith(b"GGUF"):
        return "GGUF model"
    if head.startswith(RIEGELI) and name != "saved_model.cpb":
        return "Riegeli records (a message in chunks)"
    if head.startswith(PYTORCH_PICKLE):
        return "PyTorch checkpoint (pickle)"
    if is_safetensors(head, size):
        return "safetensors file"
    if _ONNX_PRODUCERS.match(head) or (name.endswith(".onnx") and head[:1] == b"\x08"):
        return "ONNX model"
    if name == "model.json" and (b'"weightsManifest"' in head or b'"modelTopology"' in head):
        return "TensorFlow.js model"
    if name.endswith(".pb") and is_graph(head):
        return "TensorFlow GraphDef (frozen graph)"
    return ""


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether this is a safetensors header: a u64 length (at most 100 MB) and a JSON object of that length."""
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(100_000_000, size - 8) and head[8:9] == b"{"


def is_graph(head: bytes) -> bool:
    """Whether a serialized GraphDef starts here: a first node with a name and an op."""
    if head[:1] != b"\x0a":
        return False
    position = 1
    while position < min(len(head), 6) and head[position] >= 0x80:
        position += 1
    name, position = _short_text(head, position + 1, 0x0A)
    op, _ = _short_text(head, position, 0x12)
    return bool(name and op and op[:1].isalpha())


def is_meta_graph(pread: Reader, size: int, head: bytes) -> bool:
    """Whether a serialized MetaGraphDef starts here: its MetaInfoDef, then a GraphDef that begins with a node.

    One whose end is cut off is told too, as long as it still has that node.
    """
    if head[:1] != b"\x0a":
        return False
    length, position = _length(head, 1)
    after = position + length
    if not length or after + 4 > size:
        return False
    following = head[after : after + 600] if after + 600 <= len(head) else pread(after, 600)
    if following[:1] != b"\x12":
        return False
    length, position = _length(following, 1)
    return length > 0 and is_graph(following[position:])


def _length(head: bytes, position: int) -> tuple[int, int]:
    """The base-128 number at `position` and what follows it; 0 where there is none."""
    value = shift = 0
    for place, byte in enumerate(head[position : position + 5]):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position + place + 1
    return 0, position


def _short_text(head: bytes, position: int, tag: int) -> tuple[str, int]:
    if position + 2 > len(head) or head[position] != tag or head[position + 1] >= 0x80:
        return "", position
    end = position + 2 + head[position + 1]
    piece = head[position + 2 : end]
    if end > len(head) or not piece.isascii() or not piece.decode("ascii").isprintable():
        return "", end
    return piece.decode("ascii"), end


def table_first_key(head: bytes) -> bytes | None:
    """The value of the empty key that opens a TensorBundle table, its first bytes; None where another key opens it.

    Reads an uncompressed block as it stands and, of a snappy block, the literal every stream begins with.
    """
    if head[:1] != b"\x00":
        head = _first_literal(head)
    if len(head) < 4 or head[0] or head[1]:
        return None
    position = 2
    while position < min(len(head), 7) and head[position] >= 0x80:
        position += 1
    return head[position + 1 : position + 5] or None


def is_v1_table(head: bytes) -> bool:
    """Whether a V1 checkpoint starts here: an empty key whose value is a list of tensors, the first with a name.

    Tells one whose end is lost; a list longer than `head` is followed as far as it goes.
    """
    if head[:1] != b"\x00":
        head = _first_literal(head)
    if len(head) < 8 or head[0] or head[1]:
        return False
    numbers, position = [], 2
    # length of the value, then two nested messages, each of a tag and a length, then a name's
    for tag in (b"", b"\x0a", b"\x0a", b"\x0a"):
        if head[position : position + 1] != tag and tag:
            return False
        position += len(tag)
        value = shift = 0
        while position < len(head) and shift < 35:
            byte = head[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append((value, position))
    (whole, start), (meta, inside), (listed, item), (name, text) = numbers
    if text > len(head) - min(name, 8):
        return False
    fits = inside + meta == start + whole and item + listed <= inside + meta and text + name <= item + listed
    return fits and 0 < name < 1024 and b"\x00" not in head[text : text + name]


def _first_literal(head: bytes) -> bytes:
    position = 0
    while position < min(len(head), 5) and head[position] >= 0x80:
        position += 1
    tag = position + 1
    if tag >= len(head) or head[tag] & 3:
        return b""
    length, extra = (head[tag] >> 2) + 1, 0
    if length > 60:
        extra = length - 60
        length = int.from_bytes(head[tag + 1 : tag + 1 + extra], "little") + 1
    return head[tag + 1 + extra : tag + 1 + extra + length]


def zip_names(pread: Reader, size: int) -> list[str] | None:
    """Member names from a zip's central directory; None where its end or directory is not there."""
    window = min(size, 22 + 0xFFFF)
    tail = pread(size - window, window)
    end = tail.rfind(ZIP_END)
    if end < 0 or end + 22 > len(tail):
        return None
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    # Junk before the archive shifts every stored offset, so the directory is found from its end, not its offset.
    stop = size - window + end
    if tail.startswith(ZIP64_LOCATOR, end - ZIP64_LOCATOR_SIZE):
        stop -= ZIP64_LOCATOR_SIZE + ZIP64_END_SIZE
        record = pread(stop, ZIP64_END_SIZE)
        length = int.from_bytes(record[40:48], "little") if record.startswith(ZIP64_END) else -1
    start = stop - length
    if length < 0 or start < 0:
        return None
    directory = pread(start, min(length, DIRECTORY_CAP))
    names, position = [], 0
    while directory.startswith(ZIP_CENTRAL, position) and position + 46 <= len(directory):
        sizes = [int.from_bytes(directory[position + at : position + at + 2], "little") for at in (28, 30, 32)]
        names.append(directory[position + 46 : position + 46 + sizes[0]].decode("utf-8", "backslashreplace"))
        position += 46 + sum(sizes)
    return names if names or not length else None


def first_zip_member(head: bytes) -> str:
    """Name of the member whose local header opens the file; empty where none does."""
    if not head.startswith(ZIP_LOCAL) or len(head) < 30:
        return ""
    length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + length].decode("utf-8", "backslashreplace")
