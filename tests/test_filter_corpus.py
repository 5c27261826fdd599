"""Trained models that nobody on this project made: their filters are neither symmetric beyond chance nor duplicates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ckptui.core.model import Finding, Layer, RunFolder
from ckptui.engine import kernels
from ckptui.engine.pool import Pool
from ckptui.errors import CkptuiError
from ckptui.session import Session
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples

MALFORMED = {"hdf5-cve", "tf-fuzz", "jhdf", "h5py-odd"}
MANY = {"fer2013-sequence": 3}
"""Of a run of one network the last few."""


@needs_corpus
@needs_estimator
@needs_samples
def test_no_filter_of_a_healthy_model_is_called_symmetric_or_a_duplicate() -> None:
    folders = [p for p in sorted(CORPUS.iterdir()) if p.is_dir() and p.name not in MALFORMED]
    samples = [p for p in sorted(SAMPLES.iterdir()) if p.name.startswith(("digits", "estimator"))]
    counts: Counter[str] = Counter()
    wrong = []
    with Session(cache=False) as session:
        for place in [*folders, ESTIMATOR, *samples]:
            saves = [one for one in session.find([str(place)]) if not isinstance(one, (Finding, RunFolder))]
            for found in saves[-MANY.get(place.name, len(saves)) :]:
                try:
                    listing = session.open(found.path, found=found)
                except CkptuiError:
                    continue
                counts["saves"] += 1
                for item in session.layers(listing):
                    if isinstance(item, Layer):
                        counts["kernels"] += 1
                        counts["filters"] += item.filters
                        counts["symmetric, as by chance"] += item.counts["symmetric"]
                        continue
                    counts[item.code] += 1
                    if item.code in ("symmetric-filters", "duplicate-filters"):
                        wrong.append((found.path, item.tensor, item.detail))
    print(dict(counts))
    assert not wrong
    assert counts["kernels"] > 250


def test_children_open_a_large_save_at_once_and_a_small_one_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(Pool, "call", lambda self, op, args, **_: asked.append((op, args["path"])))
    for name, size in (("small.h5", 100), ("large.h5", kernels.WORTH_ALL)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    with Pool(3) as pool:
        for path in ("missing", "small.h5", "large.h5"):
            for thread in kernels.make_ready(pool, str(tmp_path / path), "keras-h5"):
                thread.join()
    assert asked == [("layers", str(tmp_path / "large.h5"))] * 2
