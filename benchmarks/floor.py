"""The least a check could do: read every byte of the files and checksum it, in a number of processes.

Usage: `python -m benchmarks.floor PROCESSES FILE...`; each file is cut into equal pieces.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from crc32c import crc32c

CHUNK = 1 << 18
Piece = tuple[str, int, int]


def checksum(piece: Piece) -> int:
    """CRC-32C of some bytes of a file, read into one buffer."""
    path, offset, size = piece
    buffer = memoryview(bytearray(CHUNK))
    crc = 0
    handle = os.open(path, os.O_RDONLY)
    try:
        while size:
            got = os.preadv(handle, [buffer[: min(size, CHUNK)]], offset)
            if not got:
                raise EOFError(path)
            crc = crc32c(buffer[:got], crc)
            offset += got
            size -= got
    finally:
        os.close(handle)
    return crc


def pieces(paths: list[str], each: int = 20_000_000) -> list[Piece]:
    """Work of about `each` bytes."""
    found = []
    for path in paths:
        total = Path(path).stat().st_size
        found += [(path, start, min(each, total - start)) for start in range(0, total, each)]
    return found


if __name__ == "__main__":
    with ProcessPoolExecutor(int(sys.argv[1])) as workers:
        print(sum(1 for _ in workers.map(checksum, pieces(sys.argv[2:]))))
