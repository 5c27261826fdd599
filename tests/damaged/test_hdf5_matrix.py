"""Truncations and flipped bits all over small HDF5 files, read by a reader child that is kept alive.

Every STEP-th place; `CKPTUI_EVERY=1` takes all of them.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from ckptui.engine.pool import Pool
from ckptui.errors import ReaderCrashed, ReaderHung
from ckptui.readers.keras_h5 import open_h5
from tests.damaged.hdf5_faults import small_files

EVERY = int(os.environ.get("CKPTUI_EVERY", "0"))
LIMIT_SECONDS = 10.0
OWN_HEADER = 272
"""Bytes of the object header of a dataset that h5py writes."""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, ops_module="tests.damaged.hdf5_ops") as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_files(tmp_path_factory.mktemp("small"))


class Looks:
    """Looks at mutants of one file through a child, and counts how each ended."""

    def __init__(self, pool: Pool, whole: Path, mutant: Path) -> None:
        self.pool = pool
        self.mutant = mutant
        self.data = whole.read_bytes()
        self.values: dict[str, str] = self._look(whole)["values"]
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    def _look(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = self.pool.call("look", {"path": str(path), "kind": "hdf5"}).doc
        return found

    def at(self, data: bytes) -> dict[str, Any] | None:
        """What a mutant gives; None for one that its reader does not survive."""
        self.mutant.write_bytes(data)
        self.counts["tried"] += 1
        begin = time.monotonic()
        try:
            return self._look(self.mutant)
        except ReaderCrashed:
            self.counts["reader crashed, contained"] += 1
        except ReaderHung:
            self.counts["reader hung, stopped"] += 1
        finally:
            took = time.monotonic() - begin
            self.slowest = max(self.slowest, took)
            assert took < LIMIT_SECONDS
        return None

    def wrong(self, found: dict[str, Any]) -> list[str]:
        """Tensors whose values are not those that were written."""
        return [name for name, value in found["values"].items() if self.values.get(name, value) != value]

    def told(self, what: str) -> None:
        print(f"{what}: {dict(self.counts)}, slowest {self.slowest:.2f} s")


def causes(found: dict[str, Any]) -> list[Any]:
    """Findings of severity error that are not about a row that is lost."""
    return [one for one in found["findings"] if one[1] == "error" and one[2] not in found["lost"]]


@pytest.mark.parametrize(("which", "step"), [("legacy", 127), ("objects", 113), ("latest", 61)])
def test_no_truncation_gives_a_wrong_value(
    pool: Pool, files: dict[str, Path], tmp_path: Path, which: str, step: int
) -> None:
    looks = Looks(pool, files[which], tmp_path / "m.h5")
    for end in range(0, len(looks.data), EVERY or step):
        found = looks.at(looks.data[:end])
        if found is None:
            continue
        if "refused" in found:
            assert (end < 48, found["code"]) in ((True, "hdf5-damaged"), (True, "empty-file")), end
            looks.counts["refused"] += 1
            continue
        assert not looks.wrong(found), end
        assert [one[3] for one in causes(found)] == ["The HDF5 file is cut off"] or end < 96, (end, causes(found))
        looks.counts["tensors read"] += len(found["values"])
        looks.counts["rows lost"] += len(found["lost"])
    looks.told(f"{which} cut off")
    assert looks.counts["reader crashed, contained"] + looks.counts["reader hung, stopped"] == 0


@pytest.mark.parametrize(("which", "step"), [("legacy", 67), ("objects", 59), ("latest", 29)])
def test_no_flipped_bit_outside_the_values_gives_a_wrong_one_without_a_word(
    pool: Pool, files: dict[str, Path], tmp_path: Path, which: str, step: int
) -> None:
    looks = Looks(pool, files[which], tmp_path / "m.h5")
    rng = random.Random(20)
    with open_h5(files[which]) as opened:
        segments = [t.storage.segment for t in opened.listing().tensors if t.storage.segment is not None]
    with h5py.File(files[which], "r") as file:
        headers = {name: h5py.h5o.get_info(file[name].id).addr for name in looks.values}
    for at in range(0, len(looks.data), EVERY or step):
        if any(one.offset <= at < one.offset + one.bytes for one in segments):
            continue
        data = bytearray(looks.data)
        data[at] ^= 1 << rng.randrange(8)
        found = looks.at(bytes(data))
        if found is None:
            continue
        assert "refused" not in found, at
        wrong, gone = looks.wrong(found), looks.values.keys() - found["values"].keys()
        if wrong and not causes(found):
            # a dataset's own address may lead to where nothing else is
            assert len(wrong) == 1, at
            assert headers[wrong[0]] <= at < headers[wrong[0]] + OWN_HEADER, (at, wrong)
            looks.counts["another place, nothing to tell it by"] += 1
        elif wrong:
            looks.counts["another value, told"] += 1
        elif found["findings"]:
            looks.counts["told, every value right" if not gone else "told, rows lost"] += 1
        elif found["late"]:
            assert gone <= found["late"].keys(), at
            looks.counts["told when its values are read"] += 1
        elif gone:
            # a group named after its class carries its own name nowhere else: its values are all there
            held = sorted(looks.values[name] for name in gone)
            assert sorted(v for n, v in found["values"].items() if n not in looks.values) == held, at
            looks.counts["another name, nothing to tell it by"] += 1
        else:
            looks.counts["without effect"] += 1
        looks.counts["more than one cause"] += len(causes(found)) > 1
    looks.told(f"{which} with a flipped bit")
    assert looks.counts["reader hung, stopped"] == 0
    assert looks.counts["another place, nothing to tell it by"] <= looks.counts["tried"] // 300
    assert looks.counts["more than one cause"] <= looks.counts["tried"] // 100
    assert looks.counts["told, every value right"] > 5 * looks.counts["another value, told"]
