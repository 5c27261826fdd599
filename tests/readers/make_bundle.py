"""Writing TensorBundles for tests; an encoder made apart from the reader's decoder."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
from crc32c import crc32c

from ckptui.core.dtypes import NUMBERS

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
MAGIC = bytes.fromhex("57fb808b247547db")


def mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field_bytes(number: int, value: int | bytes) -> bytes:
    """One protobuf field: ints as varints, bytes as LEN."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


# -- sorted string table


def block(items: Sequence[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """A block body: prefix-compressed entries and the restart array."""
    out, restarts, previous = b"", [], b""
    pieces = []
    position = 0
    for number, (key, value) in enumerate(items):
        shared = 0
        if number % interval == 0:
            restarts.append(position)
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        piece = varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        pieces.append(piece)
        position += len(piece)
        previous = key
    out = b"".join(pieces)
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def trailed(body: bytes, snappy: bool = False) -> bytes:
    """A block as it stands in the file: maybe compressed, with type byte and masked checksum."""
    if snappy:
        body = bytes(cramjam.snappy.compress_raw(body))
    body += bytes([int(snappy)])
    return body + struct.pack("<I", mask(crc32c(body)))


def table(
    items: Sequence[tuple[bytes, bytes]],
    *,
    block_size: int = 1 << 18,
    interval: int = 16,
    snappy: bool = False,
) -> bytes:
    """A whole table of already sorted items."""
    out = b""
    handles = []
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    groups = []
    for key, value in items:
        chunk.append((key, value))
        size += len(key) + len(value) + 3
        if size >= block_size:
            groups.append(chunk)
            chunk, size = [], 0
    if chunk or not groups:
        groups.append(chunk)
    parts = []
    offset = 0
    for group in groups:
        raw = trailed(block(group, interval), snappy)
        last = group[-1][0] if group else b""
        handles.append((last, varint(offset) + varint(len(raw) - 5)))
        parts.append(raw)
        offset += len(raw)
    meta = trailed(block([]))
    index = trailed(block(handles, 1))
    footer = varint(offset) + varint(len(meta) - 5) + varint(offset + len(meta)) + varint(len(index) - 5)
    out = b"".join(parts) + meta + index
    return out + footer.ljust(40, b"\0") + MAGIC


# -- OrderedCode


def ordered_number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def ordered_string(value: bytes) -> bytes:
    escapes = {0: b"\x00\xff", 0xFF: b"\xff\x00"}
    return b"".join(escapes.get(byte, bytes([byte])) for byte in value) + b"\x00\x01"


def ordered_signed(value: int) -> bytes:
    """Sign bit, a unary length, the payload; the complement for negatives."""
    plain = ~value if value < 0 else value
    length = 1
    while plain >> (7 * length - 1):
        length += 1
    header = ((1 << length) - 1) << (length * 8 - length)
    raw = (header | plain).to_bytes(length, "big")
    return bytes(byte ^ 0xFF for byte in raw) if value < 0 else raw


def slice_key(name: str, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key of a tile; a length of -1 is the whole dimension."""
    out = ordered_number(0) + ordered_string(name.encode()) + ordered_number(len(extents))
    return out + b"".join(ordered_signed(start) + ordered_signed(length) for start, length in extents)


# -- protos


def shape_proto(shape: Sequence[int]) -> bytes:
    return b"".join(field_bytes(2, field_bytes(1, size) if size else b"") for size in shape)


def slice_proto(extents: Sequence[tuple[int, int]]) -> bytes:
    out = b""
    for start, length in extents:
        extent = b"" if length < 0 else (field_bytes(1, start) if start else b"") + field_bytes(2, length)
        out += field_bytes(1, extent)
    return out


def entry(
    dtype: int,
    shape: Sequence[int],
    shard: int = 0,
    offset: int = 0,
    size: int = 0,
    crc: int = 0,
    slices: Sequence[Sequence[tuple[int, int]]] = (),
) -> bytes:
    """A BundleEntryProto as TensorFlow writes it; `crc` is the unmasked one."""
    out = field_bytes(1, dtype) + field_bytes(2, shape_proto(shape))
    for number, value in ((3, shard), (4, offset), (5, size)):
        if value:
            out += field_bytes(number, value)
    if not slices:
        out += varint(6 << 3 | 5) + struct.pack("<I", mask(crc))
    return out + b"".join(field_bytes(7, slice_proto(extents)) for extents in slices)


def header(shards: int = 1, big_endian: bool = False, producer: int = 1, min_consumer: int = 0) -> bytes:
    version = field_bytes(1, producer) + (field_bytes(2, min_consumer) if min_consumer else b"")
    return field_bytes(1, shards) + (field_bytes(2, 1) if big_endian else b"") + field_bytes(3, version)


# -- payloads


def strings_payload(items: Sequence[bytes], order: str = "<") -> tuple[bytes, int]:
    """The stored form of a string tensor and its running checksum, as a machine of that byte order writes them."""
    lengths = b"".join(varint(len(item)) for item in items)
    crc = 0
    for item in items:
        crc = crc32c(struct.pack(order + "I", len(item)), crc)
    check = struct.pack(order + "I", mask(crc))
    crc = crc32c(b"".join(items), crc32c(check, crc))
    return lengths + check + b"".join(items), crc


def variants_payload(items: Sequence[bytes], order: str = "<") -> tuple[bytes, int]:
    """The stored form of a variant tensor and its running checksum."""
    out, crc = b"", 0
    for item in items:
        crc = crc32c(item, crc32c(struct.pack(order + "Q", len(item)), crc))
        check = struct.pack(order + "I", mask(crc))
        crc = crc32c(check, crc)
        out += varint(len(item)) + item + check
    return out, crc


@dataclass
class Stored:
    """A tensor in its stored form, for what numpy has no dtype for."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes
    crc: int


@dataclass
class Tiled:
    """A partitioned tensor: the whole array and where it is cut."""

    array: np.ndarray[Any, Any]
    tiles: Sequence[Sequence[tuple[int, int]]]


@dataclass
class Node:
    """One node of an object graph."""

    children: dict[str, int] = field(default_factory=dict)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    slots: list[tuple[int, str, int]] = field(default_factory=list)


def graph_payload(nodes: Sequence[Node]) -> bytes:
    """A serialized TrackableObjectGraph."""
    out = []
    for node in nodes:
        body = b""
        for name, target in node.children.items():
            body += field_bytes(1, (field_bytes(1, target) if target else b"") + field_bytes(2, name.encode()))
        for attribute in node.attributes:
            body += field_bytes(
                2, b"".join(field_bytes(i + 1, text.encode()) for i, text in enumerate(attribute) if text)
            )
        for original, name, slot in node.slots:
            body += field_bytes(3, field_bytes(1, original) + field_bytes(2, name.encode()) + field_bytes(3, slot))
        out.append(field_bytes(1, body))
    return b"".join(out)


def strings(items: Sequence[bytes], shape: tuple[int, ...] | None = None, order: str = "<") -> Stored:
    raw, crc = strings_payload(items, order)
    return Stored("string", (len(items),) if shape is None else shape, raw, crc)


def graph(nodes: Sequence[Node], order: str = "<") -> Stored:
    return strings([graph_payload(nodes)], (), order)


Content = Any


def store(value: Content, big_endian: bool) -> Stored:
    """The stored form of an array, a list of byte strings, or what is stored already."""
    if isinstance(value, Stored):
        return value
    if isinstance(value, (list, tuple)):
        return strings(value, order=">" if big_endian else "<")
    array = np.asarray(value)
    if big_endian:
        array = array.astype(array.dtype.newbyteorder(">"))
    raw = array.tobytes()
    return Stored(str(np.asarray(value).dtype), array.shape, raw, crc32c(raw))


def write_bundle(
    prefix: Path | str,
    tensors: Mapping[str, Content],
    *,
    shards: int = 1,
    big_endian: bool = False,
    snappy: bool = False,
    block_size: int = 1 << 18,
    table_header: bytes | None = None,
) -> str:
    """Write PREFIX.index and its shards; tensors go round the shards in turn. Returns the prefix."""
    data = [bytearray() for _ in range(shards)]
    items: dict[bytes, bytes] = {b"": header(shards, big_endian) if table_header is None else table_header}
    turn = 0

    def put(key: bytes, stored: Stored) -> None:
        nonlocal turn
        shard = turn % shards
        turn += 1
        items[key] = entry(NUMBERS[stored.dtype], stored.shape, shard, len(data[shard]), len(stored.raw), stored.crc)
        data[shard] += stored.raw

    for name, value in tensors.items():
        if isinstance(value, Tiled):
            items[name.encode()] = entry(NUMBERS[str(value.array.dtype)], value.array.shape, slices=list(value.tiles))
            for tile in value.tiles:
                where = tuple(slice(None) if length < 0 else slice(start, start + length) for start, length in tile)
                put(slice_key(name, tile), store(np.ascontiguousarray(value.array[where]), big_endian))
        else:
            put(name.encode(), store(value, big_endian))
    for number, raw in enumerate(data):
        Path(f"{prefix}.data-{number:05d}-of-{shards:05d}").write_bytes(raw)
    Path(f"{prefix}.index").write_bytes(table(sorted(items.items()), snappy=snappy, block_size=block_size))
    return str(prefix)
