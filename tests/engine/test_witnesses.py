"""What else speaks for a layer that never moved, and tensors too large to be held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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


DRAWN_ELSEWHERE = np.random.default_rng(8).uniform(-0.1, 0.1, (3, 3, 16, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("beside", "initial"),
    [
        ({"conv/bias": np.zeros(32, "f4")}, True),
        ({"bn/gamma": np.ones(32, "f4"), "bn/beta": np.zeros(32, "f4")}, True),
        ({"conv/kernel/Momentum": np.zeros((3, 3, 16, 32), "f4")}, True),
        ({"conv/bias": np.eye(1, 32, dtype="f4")[0] * np.float32(1e-30)}, False),
        ({"conv/bias": np.ones(32, "f4")}, False),
        ({"conv/bias": np.zeros(32, "f4"), "conv/kernel/Momentum": DRAWN_ELSEWHERE}, False),
        ({"conv/bias": SOME.astype("f4"), "conv/kernel/Momentum": np.zeros((3, 3, 16, 32), "f4")}, False),
        ({}, False),
    ],
)
def test_values_off_the_grid_are_fresh_only_if_every_witness_says_so(
    tmp_path: Path, beside: dict[str, Any], initial: bool
) -> None:
    layer, found = judged(bundle(tmp_path, **{"conv/kernel": DRAWN_ELSEWHERE}, **beside))
    said = layer.initializer
    if not initial:
        assert (said["verdict"], said["test"], found) == ("trained", "grid", [])
        return
    assert (said["verdict"], said["certainty"], said["test"]) == ("at-initializer", "possible", "shape")
    assert [(f.certainty, f.evidence["match"]) for f in found] == [("possible", "random_uniform")]
    assert "not as TensorFlow draws them" in found[0].detail


def test_trained_is_no_more_than_possible_beside_a_bias_of_zeros(tmp_path: Path) -> None:
    odd = np.random.default_rng(8).laplace(0, 0.3, (3, 3, 16, 32)).astype(np.float32)
    layer, found = judged(bundle(tmp_path, **{"conv/kernel": odd, "conv/bias": np.zeros(32, "f4")}))
    assert (layer.initializer["verdict"], layer.initializer["certainty"], found) == ("trained", "possible", [])
    assert "the layer's bias is exactly 0 too" in layer.initializer["reason"]


def test_a_verdict_among_normals_says_what_it_cannot_tell(tmp_path: Path) -> None:
    kernel = np.random.default_rng(8).normal(0, 0.3, (3, 3, 16, 32)).astype(np.float32)
    told = {"class_name": "HeNormal", "config": {}}
    reader = open_reader(bundle(tmp_path, **{"conv/kernel": kernel}), "tf-checkpoint")
    opened = OpenReader(reader, "tf-checkpoint", lambda: None)
    scanner = Scanner("save", reader, Files(), lambda _: None, stats=True, check=False)
    opened.listing = replace(
        opened.listing, tensors=tuple(replace(t, initializer=told, role="kernel") for t in opened.listing.tensors)
    )
    layer = unpack(
        Filtering("save", opened, scanner, lambda _: kernel, lambda _: None).look("conv/kernel")["layer"], Layer
    )
    assert (layer.initializer["verdict"], layer.initializer["certainty"]) == ("trained", "likely")
    assert "single untouched filters would not show" in layer.initializer["reason"]


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
