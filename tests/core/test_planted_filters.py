"""Faults planted into random layers of every class are found exactly; random layers have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ckptui.core.chance import mirror_tail
from ckptui.core.filters import analyse
from ckptui.core.layout import Axes
from ckptui.core.model import Layer, Tensor
from ckptui.triage.values import value_findings

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

CLASSES: dict[str, tuple[Axes, tuple[int, ...]]] = {
    "Conv2D": ("plain", (3, 3, 8, 24)),
    "Conv2D of an image": ("plain", (3, 3, 3, 32)),
    "Conv2D of one channel": ("plain", (3, 3, 1, 48)),
    "Conv2D 5x5": ("plain", (5, 5, 1, 16)),
    "Conv2D, even": ("plain", (4, 2, 6, 16)),
    "Conv2D, one line": ("plain", (1, 7, 12, 24)),
    "Conv2D, grouped": ("plain", (3, 3, 2, 32)),
    "DepthwiseConv2D": ("depthwise", (3, 3, 24, 2)),
    "Conv2DTranspose": ("transposed", (3, 3, 24, 8)),
    "Conv1D": ("plain", (5, 6, 24)),
    "DepthwiseConv1D": ("depthwise", (11, 24, 1)),
    "Conv1DTranspose": ("transposed", (4, 24, 8)),
    "Conv3D": ("plain", (3, 3, 3, 4, 16)),
    "Conv3DTranspose": ("transposed", (2, 3, 3, 16, 4)),
}
LAWS: dict[str, Draw] = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "uniform": lambda draw, shape: draw.uniform(-1, 1, shape),
    "laplace": lambda draw, shape: draw.laplace(size=shape),
    "t3": lambda draw, shape: draw.standard_t(3, size=shape),
    "t1": lambda draw, shape: draw.standard_t(1, size=shape),
    "scaled": lambda draw, shape: draw.normal(size=shape) * np.exp(draw.normal(size=shape[-1:])),
    "pruned": lambda draw, shape: draw.normal(size=shape) * (draw.random(shape) < 0.1),
    "binary": lambda draw, shape: draw.choice([-1.0, 1.0], shape),
    "ternary": lambda draw, shape: draw.choice([-1.0, 0.0, 1.0], shape),
    "levels": lambda draw, shape: np.round(draw.normal(size=shape) * 3),
    "float16": lambda draw, shape: draw.normal(size=shape).astype(np.float16),
    "bfloat16": lambda draw, shape: draw.normal(size=shape).astype(ml_dtypes.bfloat16),
    "float8": lambda draw, shape: draw.normal(size=shape).astype(ml_dtypes.float8_e4m3fn),
}
SMALL = ((3, 3, 1, 64), (2, 2, 1, 32), (3, 1, 64), (2, 1, 32), (3, 2, 64), (3, 3, 2, 64), (2, 2, 2, 2, 16))


def filters_first(kernel: Array, axes: Axes) -> Array:
    """A view of the kernel with its filters as first axes; what is written to one is written to the kernel."""
    if axes == "plain":
        return np.moveaxis(kernel, -1, 0)
    if axes == "transposed":
        return np.moveaxis(kernel, -2, 0)
    return np.moveaxis(kernel, (-2, -1), (0, 1))


def where(view: Array, axes: Axes, index: int) -> Any:
    return np.unravel_index(index, view.shape[:2]) if axes == "depthwise" else index


def count_of(shape: tuple[int, ...], axes: Axes) -> int:
    return {"plain": shape[-1], "transposed": shape[-2], "depthwise": shape[-1] * shape[-2]}[axes]


def plant(view: Array, axes: Axes, fault: str, index: int, source: int, draw: np.random.Generator) -> None:
    at, original = where(view, axes, index), np.array(view[where(view, axes, source)])
    one = np.array(view[at])
    if fault == "zero":
        one = np.zeros_like(one)
    elif fault == "constant":
        one = np.full_like(one, 0.3)
    elif fault == "dead":
        one = one * np.float32(1e-5)
    elif fault == "nonfinite":
        one[(0,) * one.ndim] = draw.choice([np.nan, np.inf, -np.inf])
    elif fault == "copy":
        one = original
    elif fault == "scaled copy":
        one = original * np.float32(1.7)
    elif fault == "near copy":
        one = original + np.float32(0.01) * float(original.std()) * draw.normal(size=original.shape).astype(np.float32)
    elif fault == "mirrored":
        places = one.ndim - (axes != "depthwise")
        one = one + np.flip(one, axis=max(range(places), key=lambda axis: one.shape[axis]))
    view[at] = one


FAULTS = ("zero", "constant", "dead", "nonfinite", "copy", "scaled copy", "near copy", "mirrored")


def told(layer: Layer) -> dict[str, set[int]]:
    """Per kind of fault the filters that have it."""
    return {
        "zero": {f.index for f in layer.detail if f.zero},
        "constant": {f.index for f in layer.detail if f.constant},
        "dead": {f.index for f in layer.detail if f.dead and not f.zero},
        "nonfinite": {f.index for f in layer.detail if f.nonfinite},
        "copy": {f.index for f in layer.detail if f.duplicate_of is not None},
        "mirrored": {f.index for f in layer.detail if f.mirrored > 0},
    }


seen: Counter[str] = Counter()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_planted_is_found_and_nothing_else(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CLASSES)), "class")
    axes, shape = CLASSES[name]
    law = data.draw(st.sampled_from(["normal", "uniform", "laplace", "t3", "scaled"]), "law")
    draw = np.random.default_rng(data.draw(st.integers(0, 1 << 30), "seed"))
    kernel = LAWS[law](draw, shape).astype(np.float32)
    view, count = filters_first(kernel, axes), count_of(shape, axes)
    # sources are the first filters, faults the later ones, so that every copy has its original
    places = draw.permutation(np.arange(count // 2, count))
    kinds = data.draw(st.lists(st.sampled_from(FAULTS), max_size=5), "faults")
    if kernel.size // count < 18 or law not in ("normal", "uniform"):
        # of filters that are one large weight and little else, two alike are no surprise
        kinds = [fault for fault in kinds if fault != "near copy"]
    planted: dict[str, set[int]] = {key: set() for key in ("zero", "constant", "dead", "nonfinite", "copy", "mirrored")}
    of: dict[int, int] = {}
    for number, fault in enumerate(kinds):
        index, source = int(places[number]), number
        plant(view, axes, fault, index, source, draw)
        if "copy" in fault:
            of[index] = source
        planted["copy" if "copy" in fault else fault].add(index)
        seen[fault] += 1
    layer = analyse(kernel, "layer/kernel", axes=axes)
    assert layer is not None
    assert told(layer) == planted, (name, law)
    assert {f.index: f.duplicate_of for f in layer.detail if f.duplicate_of is not None} == of
    assert layer.flagged_symmetric == bool(planted["mirrored"])
    codes = {f.code for f in value_findings("save", Tensor("layer/kernel", "float32", shape, 1), None, layer)}
    expected = {"symmetric-filters": "mirrored", "duplicate-filters": "copy"}
    for code, key in expected.items():
        assert (code in codes) == bool(planted[key]), code
    assert ("dead-filters" in codes) == bool(planted["dead"] or planted["zero"])


def test_every_fault_was_planted() -> None:
    print(f"planted and found, nothing else: {dict(seen)}")
    assert set(seen) == set(FAULTS)


def test_random_layers_of_every_law_have_nothing() -> None:
    """Neither symmetric nor duplicate filters, by chance, sparseness, heavy tails or few levels."""
    draw = np.random.default_rng(8)
    wrong, layers, filters = [], 0, 0
    shapes = [
        *((axes, (*shape[:-1], min(shape[-1], 24))) for axes, shape in CLASSES.values()),
        *(("plain", shape) for shape in SMALL),
    ]
    for law, make in LAWS.items():
        for axes, shape in shapes:
            for _ in range(2):
                kernel = make(draw, shape)
                layer = analyse(
                    kernel.astype(np.float32) if kernel.dtype == np.float64 else kernel, "a/kernel", axes=axes
                )
                assert layer is not None
                layers, filters = layers + 1, filters + layer.filters
                if layer.flagged_symmetric or layer.counts["duplicate"] or any(f.mirrored for f in layer.detail):
                    wrong.append((law, axes, shape, layer.counts))
    print(f"{layers} random layers of {len(LAWS)} laws, {filters} filters: {len(wrong)} with a false finding")
    assert not wrong


@pytest.mark.parametrize(
    ("shape", "law", "expected"),
    [
        ((3, 3, 1), "normal", 0.021),
        ((3, 3, 1), "uniform", 0.038),
        ((2, 2, 1), "normal", 0.15),
        ((3, 1), "normal", 0.10),
        ((3, 3, 3), "normal", 1.5e-5),
        ((3, 3, 3), "uniform", 4.7e-5),
    ],
)
def test_chance_rates_by_drawing(shape: tuple[int, ...], law: str, expected: float) -> None:
    """The rates that are given as chance are those of plainly drawn filters: an oracle of a few lines of numpy."""
    draw = np.random.default_rng(12)
    rare = expected < 1e-3
    drawn = 1_000_000 if rare else 200_000
    seen_hits = 0
    for _ in range(drawn // 200_000):
        w = LAWS[law](draw, (200_000, *shape)).astype(np.float32 if rare else np.float64)
        hits = np.zeros(len(w), bool)
        images = (
            [w[:, ::-1]] if len(shape) == 2 else [w[:, :, ::-1], w[:, ::-1], w[:, ::-1, ::-1], np.swapaxes(w, 1, 2)]
        )
        cells = np.arange(int(np.prod(shape[:-1]))).reshape(shape[:-1])
        turned = (
            [cells[::-1]]
            if len(shape) == 2
            else [cells[:, ::-1], cells[::-1], cells[::-1, ::-1], np.swapaxes(cells, 0, 1)]
        )
        for image, turn in zip(images, turned, strict=True):
            moves = cells != turn
            inner = np.einsum("nmc,nmc->n", w[:, moves], image[:, moves])
            hits |= inner >= 0.95 * np.einsum("nmc,nmc->n", w[:, moves], w[:, moves])
        seen_hits += int(hits.sum())
    rate = seen_hits / drawn
    layer = analyse(LAWS[law](draw, (*shape, 4096)).astype(np.float32), "a/kernel", axes="plain")
    assert layer is not None
    assert layer.expected_symmetric is not None
    told_rate = layer.expected_symmetric / 4096
    # the counts before were of few hits
    print(f"{'x'.join(map(str, shape))} {law}: drawn {rate:.2g}, told {told_rate:.2g}, measured before {expected:.2g}")
    if not rare:
        assert rate == pytest.approx(expected, rel=0.15)
        assert told_rate == pytest.approx(rate, rel=0.1)
    else:
        # Beta and the union of flips: exact for normals, within a factor of five for uniforms
        assert rate / 5 < told_rate < rate * 3


def test_the_null_of_normal_weights_is_a_beta_law() -> None:
    draw = np.random.default_rng(3)
    for pairs in (9, 12, 20):
        a, b = draw.normal(size=(2, 400_000, pairs))
        r = 2 * (a * b).sum(axis=1) / (a * a + b * b).sum(axis=1)
        for least in (0.3, 0.5, 0.7):
            assert (r >= least).mean() == pytest.approx(mirror_tail(least, pairs), rel=0.1, abs=2e-5)


@pytest.mark.parametrize(("shape", "few"), [((3, 1, 64), 1), ((2, 2, 32), 1), ((3, 3, 4, 1), 1), ((3, 3, 1, 32), 1)])
def test_exact_symmetry_of_kernels_with_few_mirrored_pairs(shape: tuple[int, ...], few: int) -> None:
    """One mirrored pair that is equal to the bit happens; two filters of it do not, nor one of three pairs."""
    draw = np.random.default_rng(5)
    axes: Axes = "depthwise" if shape == (3, 3, 4, 1) else "plain"
    kernel = draw.normal(size=shape).astype(np.float32)
    view = filters_first(kernel, axes)
    view = view.reshape(-1, *view.shape[2:]) if axes == "depthwise" else view
    single = len(shape) == 3
    for index in range(few + single):
        view[index] = view[index] + np.flip(view[index], axis=0)
    if axes == "depthwise":
        kernel = np.ascontiguousarray(np.moveaxis(view.reshape(4, 1, 3, 3), (0, 1), (2, 3)))
    layer = analyse(kernel, "a/kernel", axes=axes)
    assert layer is not None
    assert {f.index for f in layer.detail if f.mirrored > 0} == set(range(few + single))


def test_antisymmetric_filters_are_marked_but_no_finding() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 16)).astype(np.float32)
    kernel[..., 3] -= kernel[:, ::-1, :, 3].copy()
    kernel[:, 1, :, 3] = 0.1
    layer = analyse(kernel, "a/kernel", axes="plain")
    assert layer is not None
    assert [f.index for f in layer.detail if f.mirrored] == [3]
    assert layer.detail[3].mirrored == -1
    assert not layer.flagged_symmetric
    assert layer.counts["antisymmetric"] == 1


def test_sign_flipped_filters_are_no_duplicates_and_scaled_ones_are() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 16)).astype(np.float32)
    kernel[..., 9] = -kernel[..., 2]
    kernel[..., 10] = 0.25 * kernel[..., 2]
    layer = analyse(kernel, "a/kernel", axes="plain")
    assert layer is not None
    assert {f.index: f.duplicate_of for f in layer.detail if f.duplicate_of is not None} == {10: 2}


def test_volumes_that_repeat_backwards_in_depth_are_seen() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 4, 16)).astype(np.float32)
    kernel[..., 5] += kernel[::-1, ..., 5].copy()
    layer = analyse(kernel, "a/kernel", axes="plain")
    assert layer is not None
    assert [f.index for f in layer.detail if f.mirrored] == [5]
    assert layer.detail[5].front_back == pytest.approx(1.0)
    w = kernel[[0, 2], ..., 3].astype(np.float64)
    assert layer.detail[3].front_back == pytest.approx(float((w * w[::-1]).sum() / (w * w).sum()))
    assert "front_back" in layer.symmetry
    flat = analyse(kernel[0], "a/kernel", axes="plain")
    assert flat is not None
    assert "front_back" not in flat.detail[0].to_json()
