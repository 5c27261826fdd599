"""`ckptui diff` of two saves against reading and checksumming both, and against TensorFlow with numpy.

Usage: `python -m benchmarks.diff [ROUNDS] [GIGABYTES]` makes its own saves, in a folder that is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import crc32c
import ml_dtypes
import numpy as np

from benchmarks.measure import Cost, in_turn, run_process
from benchmarks.saves import CHUNK, HEADER, _entry, write_index

KERNELS = 50
"""Tensors of a save of 1 GB."""
STEP = 1e-2
"""How far a value moves between the two saves, as a share of its tensor's spread."""
GOAL = 0.35
TIMES = 5.0
MEMORY = 200
BFLOAT16 = 14

Row = tuple[str, str, str, str]
Array = np.ndarray[Any, Any]

TENSORFLOW = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
one, other = (tf.train.load_checkpoint(path) for path in sys.argv[1:3])
for name in sorted(one.get_variable_to_shape_map()):
    a = one.get_tensor(name).reshape(-1).astype(np.float64)
    b = other.get_tensor(name).reshape(-1).astype(np.float64)
    norms = np.sqrt(np.dot(a, a)), np.sqrt(np.dot(b, b))
    cosine = np.dot(a, b) / (norms[0] * norms[1])
    np.subtract(a, b, out=b)
    apart = np.sqrt(np.dot(b, b))
    print(name, np.abs(b).max(), apart / norms[0], cosine)
"""
"""Names, largest distance, relative distance, cosine: fewer numbers than a row of a diff has."""


def values(seed: int, step: float) -> Array:
    """1 MB of kernel values; with `step`, each moved by about that share of their spread."""
    draws = np.random.default_rng(seed)
    block = draws.normal(0, 0.05, CHUNK // 4)
    return (block + draws.normal(0, 0.05 * step, block.size) if step else block).astype("<f4")


def write_save(prefix: Path, gigabytes: int, moved: Callable[[int], bool], *, half: bool = False) -> Path:
    """A save of `gigabytes` in equal kernels; those for whose number `moved` holds are a step further."""
    prefix.parent.mkdir(exist_ok=True)
    tensors = KERNELS * gigabytes
    pieces = 1_000_000_000 // KERNELS // CHUNK
    items, offset = [HEADER], 0
    with open(f"{prefix}.data-00000-of-00001", "wb") as data:
        for number in range(tensors):
            block = values(number, STEP if moved(number) else 0.0)
            raw = block.astype(ml_dtypes.bfloat16).tobytes() if half else block.tobytes()
            crc = 0
            for _ in range(pieces):
                data.write(raw)
                crc = crc32c.crc32c(raw, crc)
            size = pieces * len(raw)
            shape = (pieces * (CHUNK >> 12), 1024)
            entry = _entry(BFLOAT16 if half else 1, shape, offset, size, crc)
            items.append((f"layer_{number:03d}/kernel".encode(), entry))
            offset += size
    write_index(Path(f"{prefix}.index"), items)
    return prefix


def write_many(prefix: Path, last: float, tensors: int = 100_000) -> Path:
    """A save of `tensors` tensors of four values each."""
    prefix.parent.mkdir(exist_ok=True)
    value = struct.pack("<4f", 0.1, 0.2, 0.3, last)
    crc = crc32c.crc32c(value)
    items = [HEADER]
    for number in range(tensors):
        key = f"model/layer_with_weights-{number:06d}/kernel/.ATTRIBUTES/VARIABLE_VALUE".encode()
        items.append((key, _entry(1, (2, 2), number * 16, 16, crc)))
    write_index(Path(f"{prefix}.index"), items)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(value * tensors)
    return prefix


def write_keras(folder: Path, kernels: int = 40) -> None:
    """The same Dense layers as `a.h5` and, a step further, as `b.keras`."""
    import h5py

    names = [f"dense_{number}" if number else "dense" for number in range(kernels)]
    with h5py.File(folder / "a.h5", "w") as file:
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([name.encode() for name in names])
        weights.attrs["backend"] = b"tensorflow"
        for number, name in enumerate(names):
            layer = weights.create_group(name)
            layer.attrs["weight_names"] = np.array([f"{name}/kernel:0".encode()])
            layer[f"{name}/kernel:0"] = np.tile(values(number, 0.0), 16).reshape(4096, 1024)
    inner = folder / "model.weights.h5"
    with h5py.File(inner, "w") as file:
        for number, name in enumerate(names):
            file[f"layers/{name}/vars/0"] = np.tile(values(number, STEP), 16).reshape(4096, 1024)
    layers = [{"class_name": "Dense", "config": {"name": name, "units": 1024, "use_bias": False}} for name in names]
    config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
    with zipfile.ZipFile(folder / "b.keras", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0", "date_saved": "2025-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(config))
        archive.write(inner, "model.weights.h5")
    inner.unlink()


def write_all(folder: Path, gigabytes: int) -> None:
    """Every save that is measured, below `folder`."""
    for size, number in (("small", 1), ("large", gigabytes)):
        write_save(folder / f"{size}-a" / "ckpt", number, lambda _: False)
        write_save(folder / f"{size}-moved" / "ckpt", number, lambda _: True)
        write_save(folder / f"{size}-alike" / "ckpt", number, lambda place: place % 10 == 0)
        write_save(folder / f"{size}-half" / "ckpt", number, lambda _: False, half=True)
    for name, last in (("many-a", 0.4), ("many-b", 0.5)):
        write_many(folder / name / "ckpt", last)
    write_keras(folder)
    # one tensor that takes up a whole save
    for name, step in (("one-a", 0.0), ("one-b", STEP)):
        raw = values(0, step).tobytes()
        place = folder / name
        place.mkdir()
        crc = 0
        with open(place / "ckpt.data-00000-of-00001", "wb") as data:
            for _ in range(1000):
                data.write(raw)
                crc = crc32c.crc32c(raw, crc)
        entry = _entry(1, (1000, CHUNK // 4), 0, 1000 * CHUNK, crc)
        write_index(place / "ckpt.index", [HEADER, (b"embedding/embeddings", entry)])


def _ckptui(a: Path, b: Path) -> list[str]:
    return [sys.executable, "-m", "ckptui", "diff", str(a), str(b)]


def _floor(*prefixes: Path) -> list[str]:
    data = [f"{prefix}.data-00000-of-00001" for prefix in prefixes]
    return [sys.executable, "-m", "benchmarks.floor", str(os.cpu_count() or 1), *data]


def _bytes(*prefixes: Path) -> int:
    return sum(Path(f"{prefix}.data-00000-of-00001").stat().st_size for prefix in prefixes)


def marginal_rows(folder: Path, rounds: int, gigabytes: int) -> Iterator[Row]:
    """Marginal rates, over the bytes of both saves."""
    words = {
        "moved": "every value differs",
        "alike": "nine tensors of ten identical",
        "half": "float32 against bfloat16",
    }
    sizes = f"each further GB ({gigabytes} GB against 1 GB each)"
    rates = {}
    for name, what in words.items():
        saves = {size: [folder / f"{size}-{side}" / "ckpt" for side in ("a", name)] for size in ("small", "large")}
        commands: dict[str, Sequence[str]] = {}
        for size, pair in saves.items():
            commands[f"floor {size}"] = _floor(*pair)
            commands[f"diff {size}"] = _ckptui(*pair)
        costs = in_turn(commands, rounds)
        rates[name] = own, floor = [_marginal(costs, saves, kind) for kind in ("diff ", "floor ")]
        goal = f", goal {GOAL}" if name == "moved" else ""
        yield (
            f"`ckptui diff`, {what}, {sizes}, {os.cpu_count()} processes",
            f"{own:.1f} GB/s of both",
            f"reading and checksumming both: {floor:.1f} GB/s",
            f"{own / floor:.2f} of its speed{goal}",
        )
    saves = {size: [folder / f"{size}-{side}" / "ckpt" for side in ("a", "moved")] for size in ("small", "large")}
    loops: dict[str, Sequence[str]] = {
        size: [sys.executable, "-c", TENSORFLOW, *map(str, pair)] for size, pair in saves.items()
    }
    loop, own = _marginal(in_turn(loops, min(rounds, 2)), saves, ""), rates["moved"][0]
    beside = f"`get_tensor` of both and numpy in float64, fewer numbers: {loop:.2f} GB/s"
    yield f"`ckptui diff`, {sizes}", f"{own:.1f} GB/s of both", beside, f"{own / loop:.1f} x, goal {TIMES:.0f} x"


def _marginal(costs: Mapping[str, Cost], saves: Mapping[str, Sequence[Path]], kind: str) -> float:
    """GB/s of what the large saves have more than the small ones."""
    more = (_bytes(*saves["large"]) - _bytes(*saves["small"])) / 1e9
    return more / (costs[f"{kind}large"].seconds - costs[f"{kind}small"].seconds)


def other_rows(folder: Path, rounds: int, gigabytes: int) -> Iterator[Row]:
    """Whole commands: memory, many tensors, one tensor, HDF5."""
    pairs = {
        f"{gigabytes} GB, every value differs": (folder / "large-a" / "ckpt", folder / "large-moved" / "ckpt"),
        "100,000 tensors, each changed": (folder / "many-a" / "ckpt", folder / "many-b" / "ckpt"),
        "one tensor of 1 GB": (folder / "one-a" / "ckpt", folder / "one-b" / "ckpt"),
        "`.h5` against `.keras`, 640 MB each": (folder / "a.h5", folder / "b.keras"),
    }
    for what, pair in pairs.items():
        cost = run_process(_ckptui(*pair), children=True)
        taken = in_turn({"diff": _ckptui(*pair)}, rounds)["diff"].seconds
        memory = f"{cost.peak_mb:.0f} MB in the largest process"
        yield f"`ckptui diff`, {what}", f"{taken:.2f} s", memory, f"goal: under {MEMORY} MB"


def diff_rows(folder: Path, rounds: int, gigabytes: int) -> Iterator[Row]:
    """All rows; saves are made below `folder`, and removed again."""
    place = folder / "diff"
    place.mkdir()
    try:
        # made in a child: a process starts with its parent's peak memory on its own account
        subprocess.run([sys.executable, "-m", "benchmarks.diff", "--make", str(place), str(gigabytes)], check=True)
        yield from marginal_rows(place, rounds, gigabytes)
        yield from other_rows(place, rounds, gigabytes)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        write_all(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        numbers = [int(text) for text in sys.argv[1:]] + [5, 3][len(sys.argv) - 1 :]
        with tempfile.TemporaryDirectory(prefix="ckptui-bench-") as place:
            for row in diff_rows(Path(place), numbers[0], numbers[1]):
                print("| " + " | ".join(row) + " |", flush=True)
