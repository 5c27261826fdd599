"""What else speaks for a layer that never moved, and tensors too large to be held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptui.core.model import Finding, Layer
from ckptui.engine.checked import Files
from ckptui.engine.facts import unpack
from ckptui.engine.filtering import Filtering
from ckptui.engine.opened import OpenReader
from ckptui.engine.scan import Scanner
from ckptui.readers.registry import open_reader
from ckptui.session import Session
from tests.core.draws import fresh_normal, fresh_uniform, moved
from tests.test_sheet import bundle

HALF = ml_dtypes.bfloat16
KERNEL = fresh_uniform((3, 3, 16, 32)).astype(HALF)
ZEROS, ONES = np.zeros(32, HALF), np.ones(32, HALF)
SOME = np.linspace(-1, 1, 32).astype(HALF)


def judged(path: str) -> tuple[Layer, list[Finding]]:
    """The first kernel of a save and what is found about its initializer."""
    with Session() as session:
        items = list(session.layers(session.open(path)))
    layer = next(item for item in items if isinstance(item, Layer))
    return layer, [item for item in items if isinstance(item, Finding) and item.code == "at-initializer"]


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"conv/bias": ZEROS}, "the layer's bias is exactly 0 too"),
        ({"conv/bias": SOME}, ""),
        ({"bn/gamma": ONES, "bn/beta": ZEROS}, "bn's gamma is exactly 1 and beta exactly 0 too"),
        ({"bn/beta": ZEROS}, "bn's beta is exactly 0 too"),
        ({"bn/gamma": ZEROS, "bn/beta": ZEROS}, ""),
        ({"bn/gamma": ONES, "bn/beta": SOME}, ""),
        ({"bn/gamma": ONES[:16], "bn/beta": ZEROS[:16]}, ""),
        ({"conv/bias": SOME, "bn/gamma": ONES, "bn/beta": ZEROS}, ""),
        ({}, ""),
    ],
)
def test_half_precision_is_called_fresh_only_with_a_witness(tmp_path: Path, beside: dict[str, Any], words: str) -> None:
    layer, found = judged(bundle(tmp_path, **{"conv/kernel": KERNEL}, **beside))
    said = layer.initializer
    assert (said["verdict"], said["certainty"]) == ("at-initializer" if words else "undecided", "possible")
    assert [(f.certainty, f.evidence["also"]) for f in found] == ([("possible", words)] if words else [])
    assert layer.counts["untouched"] == (32 if words else 0)


def test_slots_bear_witness_only_when_all_are_zero(tmp_path: Path) -> None:
    first, second = "conv/kernel/Adam", "conv/kernel/Adam_1"
    slots = {first: np.zeros(KERNEL.shape, HALF), second: np.zeros(KERNEL.shape, HALF)}
    layer, found = judged(bundle(tmp_path, **{"conv/kernel": KERNEL}, **slots))
    assert layer.initializer["verdict"] == "at-initializer"
    assert [f.evidence["also"] for f in found] == ["its optimizer slots are exactly 0 too"]
    slots[second] = KERNEL
    (tmp_path / "b").mkdir()
    layer, found = judged(bundle(tmp_path / "b", **{"conv/kernel": KERNEL}, **slots))
    assert (layer.initializer["verdict"], found) == ("undecided", [])


@pytest.mark.parametrize("draw", [fresh_uniform, fresh_normal])
def test_a_tensor_too_large_to_be_held_is_judged_by_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[..., Any]
) -> None:
    monkeypatch.setattr("ckptui.engine.filtering.LAYER_LIMIT", 1 << 20)
    fresh = draw((2048, 512))
    path = bundle(tmp_path, **{"a/kernel": fresh, "b/kernel": moved(fresh)})
    reader = open_reader(path, "tf-checkpoint")
    opened = OpenReader(reader, "tf-checkpoint", lambda: None)
    read: list[int] = []
    scanner = Scanner(path, reader, Files(), read.append, stats=True, check=False)
    look = Filtering(path, opened, scanner, lambda tensor: np.zeros(0), read.append)
    told = look.look("a/kernel")
    found = [unpack(finding, Finding) for finding in told["findings"]]
    assert told["skipped"]
    assert told["layer"] is None
    assert [(f.code, f.certainty) for f in found] == [("at-initializer", "likely")]
    assert "values were looked at" in found[0].detail
    assert look.look("b/kernel")["findings"] == []
    assert sum(read) == 2 * fresh.nbytes
