"""What is remembered of the sectors that come by: runs and keys, never a list as long as the file."""

from __future__ import annotations

import tracemalloc

import numpy as np

from ckptui.core.model import Segment
from ckptui.engine.blocks import MOST_ZERO_RUNS, BlockWatch
from ckptui.readers.zeros import SECTOR


def watched(raw: bytes, offset: int = 0, step: int = 7000) -> BlockWatch:
    watch = BlockWatch(Segment("f", offset, len(raw)))
    for start in range(0, len(raw), step):
        watch.add(memoryview(raw)[start : start + step])
    return watch


def test_zero_sectors_are_runs_across_pieces() -> None:
    rng = np.random.default_rng(3)
    raw = bytearray(rng.bytes(400 * SECTOR))
    for first, count in ((3, 1), (20, 90), (300, 100)):
        raw[first * SECTOR : (first + count) * SECTOR] = bytes(count * SECTOR)
    # a sector with one bit set among words that are looked at first is none of them
    raw[50 * SECTOR + 9] = 1
    runs = watched(bytes(raw), 100 * SECTOR).zeros
    expected = [(3, 4), (20, 50), (51, 110), (300, 400)]
    assert runs == [[(100 + a) * SECTOR, (100 + b) * SECTOR] for a, b in expected]


def test_repeated_sectors_are_paired_with_the_first() -> None:
    raw = bytearray(np.random.default_rng(5).bytes(2000 * SECTOR))
    for at in (700, 1500):
        raw[at * SECTOR : (at + 2) * SECTOR] = raw[10 * SECTOR : 12 * SECTOR]
    pairs = watched(bytes(raw)).repeats()
    assert pairs == [(n * SECTOR, m * SECTOR) for n, m in ((700, 10), (701, 11), (1500, 10), (1501, 11))]


def test_much_repetition_or_many_holes_are_the_tensors_own() -> None:
    assert watched(np.random.default_rng(1).bytes(SECTOR * 8) * 50).repeats() == []
    holes = np.ones((2 * MOST_ZERO_RUNS + 10, SECTOR), np.uint8)
    holes[::2] = 0
    watch = watched(holes.tobytes(), step=1 << 19)
    assert watch.sparse
    assert watch.zeros == []


def test_a_huge_hole_costs_no_memory() -> None:
    piece = memoryview(bytes(1 << 20))
    watch = BlockWatch(Segment("f", 0, 1 << 30), most=0)
    tracemalloc.start()
    for _ in range(1 << 10):
        watch.add(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert watch.zeros == [[0, 1 << 30]]
    assert peak < 8 << 20
