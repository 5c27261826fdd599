"""Reads damaged archives whole, inner file included, and holds every value against the undamaged one. Run by path.

`keras_matrix_child.py WHOLE CASES BEGIN FOLDER` prints a JSON line a case: {"end", "wrong", "seconds"}.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from ckptui.core.model import Finding
from ckptui.errors import CkptuiError
from ckptui.readers.keras_archive import open_archive


def main(whole: str, cases: str, begin: int, folder: str) -> None:
    with open_archive(whole) as opened:
        right = {t.name: opened.array(t) for t in opened.listing().tensors}
    path = Path(folder) / "damaged.keras"
    for what, packed in json.loads(Path(cases).read_text())[begin:]:
        path.write_bytes(zlib.decompress(bytes.fromhex(packed)))
        start = time.process_time()
        end, wrong = look(path, right)
        line = {"what": what, "end": end, "wrong": wrong, "seconds": time.process_time() - start}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def look(path: Path, right: dict[str, np.ndarray]) -> tuple[str, list[str]]:
    """`right` where all is well, `told` where findings say it is not; values that differ without a word."""
    try:
        with open_archive(path) as opened:
            listing = opened.listing()
            findings: list[Finding] = [*listing.findings, *opened.verify()]
            warned = any(f.severity == "error" for f in findings)
            wrong = []
            for tensor in listing.tensors:
                if tensor.problem:
                    continue
                try:
                    value = opened.array(tensor)
                except CkptuiError:
                    continue
                same = tensor.name in right and np.array_equal(value, right[tensor.name])
                if not same and not warned:
                    wrong.append(tensor.name)
            lost = set(right) - {t.name for t in listing.tensors}
            if lost and not warned:
                wrong += sorted(lost)
            return "told" if findings else "right", wrong
    except CkptuiError:
        return "refused", []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
