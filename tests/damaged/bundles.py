"""Small healthy bundles to damage, and the full check of one in this process."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ckptui.core.model import Finding, Listing, Tensor, TensorScan
from ckptui.engine.checked import Files
from ckptui.engine.scan import Scanner
from ckptui.readers.registry import Reader, open_reader
from ckptui.session import checked_listing
from tests.readers.make_bundle import GRAPH_KEY, Node, Tiled, graph, strings, write_bundle

SHARD = ".data-00000-of-00001"


def small_tensors() -> dict[str, Any]:
    """One of every kind of storage, few bytes each; names in index order."""
    draw = np.random.default_rng(5)
    weights = draw.normal(size=(4, 3)).astype(np.float32)
    nodes = [
        Node({"layer": 1, "save_counter": 2}),
        Node({}, [("VARIABLE_VALUE", "dense/kernel", "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE")]),
        Node({}, [("VARIABLE_VALUE", "save_counter", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")]),
    ]
    return {
        GRAPH_KEY: graph(nodes),
        "bf16": draw.normal(size=3).astype(ml_dtypes.bfloat16),
        "c64": (draw.normal(size=2) + 1j * draw.normal(size=2)).astype(np.complex64),
        "flag": np.array([True, False, True]),
        "half": draw.normal(size=5).astype(np.float16),
        "int8": np.arange(-3, 4, dtype=np.int8),
        "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE": weights,
        "parts": Tiled(draw.normal(size=(4, 2)).astype(np.float32), [[(0, 3), (0, -1)], [(3, 1), (0, -1)]]),
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.array(3, np.int64),
        "words": strings([b"cat", b"", b"a longer dog" * 12]),
        "zeros": np.zeros(4, np.float32),
    }


class Checked:
    """The full check of one save, as commands and screen have it, without processes; values on demand."""

    def __init__(self, path: str, kind: str = "tf-checkpoint") -> None:
        self.reader: Reader = open_reader(path, kind)  # type: ignore[arg-type]
        self.listing: Listing = self.reader.listing()

    def scan(self) -> list[TensorScan]:
        files = Files()
        scanner = Scanner(self.listing.artifact.path, self.reader, files, lambda done: None, stats=False, check=True)
        try:
            return [scanner.scan(tensor) for tensor in self.listing.tensors]
        finally:
            files.close()

    def findings(self, scans: Sequence[TensorScan]) -> list[Finding]:
        """All that is told in the end."""
        told = [finding for scan in scans for finding in scan.findings]
        return list(checked_listing(self.listing, told).findings)

    def bytes_of(self, tensor: Tensor) -> bytes:
        """The values, as something to compare."""
        values = self.reader.array(tensor)
        if values.dtype.kind == "O":
            return b"".join(struct.pack("<Q", len(item)) + item for item in values.reshape(-1).tolist())
        return values.tobytes()


def write_small(prefix: Path) -> str:
    return write_bundle(prefix, small_tensors())
