"""`ckptui filters` on a model of InceptionV3's size: 94 convolution kernels and one dense, 95 MB, cold process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import in_turn

KERNELS = """
3,3,3,32 3,3,32,32 3,3,32,64 1,1,64,80 3,3,80,192
1,1,192,64 1,1,192,48 5,5,48,64 1,1,192,64 3,3,64,96 3,3,96,96 1,1,192,32
1,1,256,64 1,1,256,48 5,5,48,64 1,1,256,64 3,3,64,96 3,3,96,96 1,1,256,64
1,1,288,64 1,1,288,48 5,5,48,64 1,1,288,64 3,3,64,96 3,3,96,96 1,1,288,64
3,3,288,384 1,1,288,64 3,3,64,96 3,3,96,96
1,1,768,192 1,1,768,128 1,7,128,128 7,1,128,192
1,1,768,128 7,1,128,128 1,7,128,128 7,1,128,128 1,7,128,192 1,1,768,192
1,1,768,192 1,1,768,160 1,7,160,160 7,1,160,192
1,1,768,160 7,1,160,160 1,7,160,160 7,1,160,160 1,7,160,192 1,1,768,192
1,1,768,192 1,1,768,160 1,7,160,160 7,1,160,192
1,1,768,160 7,1,160,160 1,7,160,160 7,1,160,160 1,7,160,192 1,1,768,192
1,1,768,192 1,1,768,192 1,7,192,192 7,1,192,192
1,1,768,192 7,1,192,192 1,7,192,192 7,1,192,192 1,7,192,192 1,1,768,192
1,1,768,192 3,3,192,320 1,1,768,192 1,7,192,192 7,1,192,192 3,3,192,192
1,1,1280,320 1,1,1280,384 1,3,384,384 3,1,384,384 1,1,1280,448 3,3,448,384 1,3,384,384 3,1,384,384 1,1,1280,192
1,1,2048,320 1,1,2048,384 1,3,384,384 3,1,384,384 1,1,2048,448 3,3,448,384 1,3,384,384 3,1,384,384 1,1,2048,192
2048,1000
"""
GOAL = 3.0
"""Seconds."""
READ = """
import sys
import h5py, numpy as np
with h5py.File(sys.argv[1]) as file:
    for group in file["layers"].values():
        kernel = group["vars/0"][()]
        print(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]).astype(np.float64), axis=0).sum())
"""


def write_model(path: Path, *, moved: bool) -> None:
    """A `.weights.h5` whose kernels are as GlorotUniform draws them, or `moved` by a little noise."""
    import h5py

    draw = np.random.default_rng(7)
    with h5py.File(path, "w") as file:
        for number, text in enumerate(KERNELS.split()):
            shape = tuple(map(int, text.split(",")))
            field = int(np.prod(shape[:-2]))
            limit = np.float32(np.sqrt(6.0 / (field * (shape[-2] + shape[-1]))))
            kernel = (draw.integers(0, 1 << 23, shape) * 2.0**-23).astype(np.float32) * (limit + limit) - limit
            if moved:
                kernel += draw.normal(0, 1e-3, shape).astype(np.float32)
            name = "dense" if len(shape) == 2 else f"conv2d_{number}" if number else "conv2d"
            file[f"layers/{name}/vars/0"] = kernel
            if len(shape) == 2:
                file[f"layers/{name}/vars/1"] = np.zeros(shape[-1], np.float32)


def filter_rows(folder: Path, rounds: int) -> list[tuple[str, str, str, str]]:
    """Untouched and trained, against a process that reads the kernels with h5py and takes the filters' norms."""
    rows = []
    for word, moved in (("as drawn", False), ("moved by a step", True)):
        path = folder / f"{'moved' if moved else 'drawn'}.weights.h5"
        write_model(path, moved=moved)
        costs = in_turn(
            {
                "filters": [sys.executable, "-m", "ckptui", "filters", "--no-cache", str(path)],
                "read": [sys.executable, "-c", READ, str(path)],
            },
            rounds,
        )
        seconds, read = costs["filters"].seconds, costs["read"].seconds
        what = f"`ckptui filters`, kernels of InceptionV3 ({path.stat().st_size / 1e6:.0f} MB) {word}, cold process"
        beside = f"h5py and numpy, norms alone: {read:.2f} s"
        rows.append((what, f"{seconds:.2f} s (goal: {GOAL:.0f} s)", beside, f"{seconds / read:.1f} x"))
    return rows


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for row in filter_rows(Path(place), 3):
            print("| " + " | ".join(row) + " |")
