"""Zero and repeated blocks in HDF5 files, which have no checksum: found where they are lost sectors, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.core.model import Finding, Tensor
from ckptui.engine.checked import Files
from ckptui.engine.scan import Scanner
from ckptui.readers.keras_archive import open_archive
from ckptui.readers.keras_h5 import open_h5
from tests.places import CORPUS, SAMPLES, needs_corpus
from tests.readers.keras_files import archive

CODES = ("suspicious-blocks", "zero-filled")


def blocks(path: Path) -> list[Finding]:
    """Findings of a full check about blocks."""
    files = Files()
    found: list[Finding] = []
    opened = open_archive(path) if path.suffix == ".keras" else open_h5(path)
    with opened:
        scanner = Scanner(str(path), opened, files, lambda done: None, stats=False, check=True)
        for tensor in opened.listing().tensors:
            if not tensor.problem:
                found += [f for f in scanner.scan(tensor).findings if f.code in CODES]
    files.close()
    return found


def dense(path: Path, *shape: int, before: int = 0, seed: int = 5) -> Tensor:
    """A file with one kernel of random values behind `before` bytes of others, and another one behind it."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file["a"] = rng.integers(1, 255, before + 1).astype("u1")
        file["kernel"] = rng.normal(size=shape).astype("f4")
        file["z"] = rng.normal(size=64).astype("f4")
    with open_h5(path) as opened:
        return next(t for t in opened.listing().tensors if t.name == "kernel")


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize("block", [512, 4096])
@pytest.mark.parametrize("count", [1, 5])
def test_zero_blocks_inside_a_kernel_are_named_with_their_place(tmp_path: Path, block: int, count: int) -> None:
    path = tmp_path / "m.h5"
    tensor = dense(path, 100, 300)
    segment = tensor.storage.segment
    assert segment is not None
    at = (segment.offset // block + 3) * block
    overwrite(path, at, bytes(block * count))
    (finding,) = blocks(path)
    assert (finding.code, finding.severity, finding.certainty) == ("suspicious-blocks", "warning", "likely")
    assert (finding.tensor, finding.artifact) == ("kernel", str(path))
    evidence = finding.evidence
    assert evidence["kind"] == "zeros"
    assert abs(evidence["offset"] - at) <= 3
    assert abs(evidence["bytes"] - block * count) <= 6
    assert evidence["block"] in ((4096,) if block == 4096 else (512, 4096))
    first, last = evidence["elements"]
    assert first == (evidence["offset"] - segment.offset) // 4
    with open_h5(path) as opened:
        values = opened.array(tensor).reshape(-1)
    assert not values[first + 1 : last - 1].any()
    assert values[:first].all()
    assert values[last:].all()


def test_a_repeated_block_is_named_with_what_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    segment = dense(path, 100, 300).storage.segment
    assert segment is not None
    at = (segment.offset // 4096 + 4) * 4096
    overwrite(path, at, path.read_bytes()[at - 8192 : at - 4096])
    (finding,) = blocks(path)
    assert finding.code == "suspicious-blocks"
    assert finding.evidence["kind"] == "repeated"
    told = (finding.evidence["offset"], finding.evidence["bytes"], finding.evidence["copy_of"])
    assert told == (at, 4096, at - 8192)
    assert finding.evidence["block"] == 4096


def test_zeros_up_to_the_end_of_the_file_are_zero_filled(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["kernel"] = np.random.default_rng(3).normal(size=(100, 300)).astype("f4")
    data = path.read_bytes()
    at = len(data) * 3 // 4
    path.write_bytes(data[:at] + bytes(len(data) - at))
    (finding,) = blocks(path)
    assert (finding.code, finding.tensor) == ("zero-filled", "kernel")
    assert abs(finding.evidence["offset"] - at) <= 3
    assert finding.evidence["offset"] + finding.evidence["bytes"] == len(data)


def test_members_of_an_archive_are_left_to_its_checksums(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(64, 150)).astype("f4")
    path = archive(tmp_path / "m.keras", {"layers/dense": ("d", [values])})
    with open_archive(path) as opened:
        segment = opened.listing().tensors[0].storage.segment
    assert segment is not None
    overwrite(path, (segment.offset // 512 + 3) * 512, bytes(512))
    assert not blocks(path)


def genuine(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors with zeros and repetitions that training, pruning and initialisers make."""
    rows, columns = int(rng.integers(16, 400)), int(rng.integers(3, 300))
    values = rng.normal(size=(rows, columns)).astype("f4")

    def copy() -> np.ndarray:
        fresh: np.ndarray = values.copy()
        return fresh

    for share in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        yield f"pruned {share}", np.where(rng.random(values.shape) < share, np.float32(0), values)
    rare = copy()
    rare[rng.integers(0, rows, 1 + rows // 40)] = 0
    yield "empty rows", rare
    stretch = copy()
    begin = int(rng.integers(0, rows))
    stretch[begin : begin + int(rng.integers(1, 30))] = 0
    yield "a stretch of empty rows", stretch
    padded = copy()
    padded[-int(rng.integers(1, 12)) :] = 0
    yield "padded rows", padded
    wide = copy()
    wide[:, -int(rng.integers(1, columns)) :] = 0
    yield "padded columns", wide
    filters = rng.normal(size=(3, 3, 32, int(rng.integers(8, 64)))).astype("f4")
    filters[:, :, rng.integers(0, 32, 3)] = 0
    yield "pruned channels", filters
    sparse = rng.normal(size=(256, 256)).astype("f4")
    for _ in range(4):
        row, column = (int(n) * 32 for n in rng.integers(0, 8, 2))
        sparse[row : row + 32, column : column + 32] = 0
    yield "pruned blocks", sparse
    units = int(rng.integers(100, 700))
    yield "gate bias", np.concatenate([np.zeros(units), np.ones(units), np.zeros(2 * units)]).astype("f4")
    half = rng.normal(size=4 * units).astype("f4")
    half[:units] = 0
    yield "trained but one gate", half
    yield "inflated kernel", np.repeat(rng.normal(size=(1, 3, 3, 8, 24)).astype("f4"), 3, axis=0)
    doubled = copy()
    doubled[rows // 2 : rows // 2 * 2] = doubled[: rows // 2]
    yield "doubled rows", doubled
    same = copy()
    same[rng.integers(0, rows, 5)] = same[0]
    yield "a row five times", same
    yield "zeros", np.zeros((rows, columns), "f4")
    yield "constant", np.full((rows, columns), 0.1, "f4")
    yield "one hot", np.eye(max(rows, 150), dtype="f4")
    yield "counts", np.where(rng.random(9000) < 0.8, 0, rng.integers(0, 3, 9000))
    yield "positions", np.arange(5000) % int(rng.integers(10, 900))
    waves = np.arange(2000)[:, None] / np.power(10000.0, np.arange(32) / 32)
    yield "sines", np.concatenate([np.sin(waves), np.cos(waves)], 1).astype("f4")
    yield "few levels", rng.choice(rng.normal(size=8).astype("f4"), size=(200, 160))
    yield "bytes", rng.integers(0, 256, 6000).astype("u1")
    yield "quantised", np.clip(rng.normal(size=(300, 90)) * 3, -127, 127).astype("i1")


def test_zeros_and_repetitions_made_by_training_are_no_alarm(tmp_path: Path) -> None:
    count = 0
    alarms = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        path = tmp_path / f"{seed}.h5"
        with h5py.File(path, "w") as file:
            for number, (name, values) in enumerate(genuine(rng)):
                file.create_dataset(f"{number} {name}", data=values)
                # what lies before a tensor moves it against the sectors
                file.create_dataset(f"{number} between", data=rng.integers(1, 255, int(rng.integers(1, 900)), "u1"))
                count += 2
        alarms += [(seed, f.code, f.tensor, f.evidence["kind"], f.evidence["bytes"]) for f in blocks(path)]
    print(f"{len(alarms)} false alarms on {count} genuine tensors")
    assert not alarms


@pytest.mark.parametrize("kind", ["zeros", "repeated"])
def test_most_lost_sectors_of_random_kernels_are_found(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(17)
    found = tried = 0
    for seed in range(60):
        shape = (int(rng.integers(40, 200)), int(rng.integers(40, 200)))
        path = tmp_path / "m.h5"
        segment = dense(path, *shape, before=int(rng.integers(0, 3000)), seed=seed).storage.segment
        assert segment is not None
        sectors = int(rng.integers(1, 9))
        first = -(-segment.offset // 512) + int(rng.integers(0, segment.bytes // 512 - sectors - 1))
        data = path.read_bytes()
        other = -(-segment.offset // 512) * 512
        new = bytes(512 * sectors) if kind == "zeros" else data[other : other + 512 * sectors]
        if kind == "repeated" and first * 512 < other + 512 * sectors:
            continue
        overwrite(path, first * 512, new)
        tried += 1
        named = [f.evidence for f in blocks(path) if f.tensor == "kernel"]
        found += any(run["kind"] == kind and abs(run["offset"] - first * 512) <= 3 for run in named)
    print(f"{found} of {tried} {kind} runs found")
    assert found >= tried * 0.9


@needs_corpus
def test_third_party_models_raise_no_alarm() -> None:
    paths = [p for p in CORPUS.rglob("*") if p.suffix in (".h5", ".hdf5") and "hdf5-cve" not in p.parts]
    paths += SAMPLES.glob("*.h5")
    assert len(paths) > 40
    alarms = [(p.name, f.tensor, f.code) for p in paths for f in blocks(p)]
    print(f"{len(alarms)} false alarms on {len(paths)} files")
    assert not alarms
