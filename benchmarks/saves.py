"""Large checkpoints made without TensorFlow, for measuring."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import crc32c
import numpy as np

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
BLOCK_BYTES = 256 << 10
CHUNK = 1 << 20


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _entry(dtype: int, shape: tuple[int, ...], offset: int, size: int, crc: int) -> bytes:
    dims = b"".join(b"\x12" + _varint(len(d)) + d for d in (b"\x08" + _varint(n) for n in shape))
    place = (b"\x20" + _varint(offset) if offset else b"") + (b"\x28" + _varint(size) if size else b"")
    return (
        b"\x08" + _varint(dtype) + b"\x12" + _varint(len(dims)) + dims + place + b"\x35" + struct.pack("<I", _mask(crc))
    )


def _block(items: list[tuple[bytes, bytes]], restart_every: int) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(items):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(out))
        else:
            shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), len(last))
        out += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    out += b"".join(struct.pack("<I", r) for r in restarts or [0]) + struct.pack("<I", max(len(restarts), 1))
    return bytes(out)


def _sealed(block: bytes) -> bytes:
    return block + b"\0" + struct.pack("<I", _mask(crc32c.crc32c(block + b"\0")))


def write_index(path: Path, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Write an sstable of sorted (key, value) items in blocks of 256 KiB."""
    out, handles, pending, size = bytearray(), [], [], 0
    for key, value in items:
        pending.append((key, value))
        size += len(key) + len(value)
        if size > BLOCK_BYTES:
            handles.append((key, len(out), _block(pending, 16)))
            out += _sealed(handles[-1][2])
            pending, size = [], 0
    if pending:
        handles.append((pending[-1][0], len(out), _block(pending, 16)))
        out += _sealed(handles[-1][2])
    meta = (len(out), len(_block([], 1)))
    out += _sealed(_block([], 1))
    index = _block([(key, _varint(offset) + _varint(len(block))) for key, offset, block in handles], 1)
    footer = b"".join(map(_varint, (*meta, len(out), len(index))))
    out += _sealed(index) + footer.ljust(40, b"\0") + MAGIC
    path.write_bytes(out)


HEADER = (b"", b"\x08\x01\x1a\x02\x08\x01")


def _values(count: int, seed: int) -> Iterator[bytes]:
    block = np.random.default_rng(seed).normal(0, 0.05, CHUNK // 4).astype("<f4").tobytes()
    for start in range(0, count * 4, CHUNK):
        yield block[: min(CHUNK, count * 4 - start)]


def write_checkpoint(prefix: Path, megabytes: int, tensors: int = 50) -> Path:
    """A float32 checkpoint of about `megabytes` MB in equal kernels."""
    rows = max(megabytes * 1_000_000 // tensors // 4 // 1024, 1)
    items, offset = [HEADER], 0
    with open(f"{prefix}.data-00000-of-00001", "wb") as data:
        for number in range(tensors):
            crc = 0
            for chunk in _values(rows * 1024, number):
                data.write(chunk)
                crc = crc32c.crc32c(chunk, crc)
            size = rows * 4096
            items.append((f"layer_{number:03d}/kernel".encode(), _entry(1, (rows, 1024), offset, size, crc)))
            offset += size
    write_index(Path(f"{prefix}.index"), items)
    return prefix


def write_many(prefix: Path, tensors: int = 100_000) -> Path:
    """A checkpoint of `tensors` tensors of four values each, named as object-based checkpoints name them."""
    value = struct.pack("<4f", 0.1, 0.2, 0.3, 0.4)
    crc = crc32c.crc32c(value)
    items = [HEADER]
    for number in range(tensors):
        key = f"model/layer_with_weights-{number:06d}/kernel/.ATTRIBUTES/VARIABLE_VALUE".encode()
        items.append((key, _entry(1, (2, 2), number * 16, 16, crc)))
    write_index(Path(f"{prefix}.index"), items)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(value * tensors)
    return prefix


def write_sparse(prefix: Path, gigabytes: int, wrong: int = 0) -> Path:
    """A checkpoint of zeros that takes no room on disk; `wrong` is mixed into every checksum."""
    rows = 250_000
    crc = 0
    zeros = bytes(CHUNK)
    size = rows * 4096
    for start in range(0, size, CHUNK):
        crc = crc32c.crc32c(zeros[: min(CHUNK, size - start)], crc)
    items = [HEADER]
    items += [
        (f"layer_{n:03d}/bias".encode(), _entry(1, (rows, 1024), n * size, size, crc ^ wrong)) for n in range(gigabytes)
    ]
    write_index(Path(f"{prefix}.index"), items)
    with open(f"{prefix}.data-00000-of-00001", "wb") as data:
        data.truncate(gigabytes * size)
    return prefix


if __name__ == "__main__":
    root = Path(sys.argv[1])
    write_checkpoint(root / "large" / "ckpt-1", 1000)
    write_checkpoint(root / "huge" / "ckpt-1", 1000 * int(sys.argv[2]), tensors=50 * int(sys.argv[2]))
    write_many(root / "many" / "ckpt-1")
    write_sparse(root / "sparse" / "ckpt-1", 20)
    write_sparse(root / "holes" / "ckpt-1", 20, wrong=0x5A5A5A5A)
