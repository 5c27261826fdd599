"""Layers filter by filter: layouts, planted faults, bounds."""

from __future__ import annotations

import json
import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from ckptui.core.filters import MOST_DETAILS, analyse
from ckptui.core.layout import layout_of
from ckptui.core.model import Layer
from tests.core.draws import Floats, fresh_uniform, moved, normal


def layer_of(kernel: NDArray[Any], name: str = "conv/kernel", role: str = "kernel") -> Layer:
    layer = analyse(kernel, name, role=role)
    assert layer is not None
    return layer


def indices(layer: Layer, flag: str) -> list[int]:
    return [one.index for one in layer.detail if getattr(one, flag)]


@pytest.mark.parametrize(
    ("shape", "name", "role", "kernel", "channels", "filters"),
    [
        ((5, 4, 8), "conv1d/kernel", "kernel", (5,), 4, 8),
        ((3, 3, 4, 8), "conv/kernel", "kernel", (3, 3), 4, 8),
        ((2, 3, 3, 4, 8), "conv3d/kernel", "kernel", (2, 3, 3), 4, 8),
        ((3, 3, 4, 2), "depthwise_conv2d/depthwise_kernel", "kernel", (3, 3), 1, 8),
        ((3, 3, 4, 1), "layers/depthwise_conv2d/vars/0", "kernel", (3, 3), 1, 4),
        ((3, 3, 4, 1), "conv_dw_1/kernel", "kernel", (3, 3), 1, 4),
        ((3, 3, 4, 1), "layers/separable_conv2d/vars/0", "kernel", (3, 3), 1, 4),
        ((1, 1, 4, 8), "layers/separable_conv2d/vars/1", "kernel", (1, 1), 4, 8),
        ((1, 1, 4, 8), "separable_conv2d/pointwise_kernel", "kernel", (1, 1), 4, 8),
        ((3, 3, 4, 8), "conv2d_transpose/kernel", "kernel", (3, 3), 8, 4),
        ((12, 8), "dense/kernel", "kernel", (), 12, 8),
        ((50, 6), "embedding/embeddings", "embedding", (), 6, 50),
        ((48, 4, 16), "multi_head_attention/query/kernel", "kernel", (), 48, 64),
        ((4, 16, 48), "multi_head_attention/attention_output/kernel", "kernel", (), 64, 48),
    ],
)
def test_axes_are_read_as_keras_writes_them(
    shape: tuple[int, ...], name: str, role: str, kernel: tuple[int, ...], channels: int, filters: int
) -> None:
    layer = layer_of(normal(shape), name, role)
    assert (layer.kernel, layer.channels, layer.filters) == (kernel, channels, filters)
    assert [one.index for one in layer.detail] == list(range(filters))
    json.dumps(layer.to_json())


def test_norms_are_those_of_the_filters() -> None:
    kernel = normal((3, 3, 4, 8))
    assert layer_of(kernel).detail[5].l2 == pytest.approx(np.linalg.norm(kernel[..., 5].astype(np.float64)))
    depthwise = normal((3, 3, 4, 2))
    one = layer_of(depthwise, "depthwise_kernel").detail[3]
    assert one.l2 == pytest.approx(np.linalg.norm(depthwise[:, :, 1, 1].astype(np.float64)))
    transposed = layer_of(kernel, "conv2d_transpose/kernel").detail[2]
    assert transposed.l2 == pytest.approx(np.linalg.norm(kernel[:, :, 2].astype(np.float64)))
    row = layer_of(normal((20, 16)), role="embedding").detail[7]
    assert row.l2 == pytest.approx(np.linalg.norm(normal((20, 16))[7].astype(np.float64)))


@pytest.mark.parametrize(
    ("array", "role"),
    [
        (np.zeros((3, 3, 0, 4), np.float32), "kernel"),
        (np.zeros(12, np.float32), "kernel"),
        (np.zeros((3, 4), np.float32), "bias"),
        (np.zeros((3, 4), np.int8), "kernel"),
        (np.zeros((3, 4), np.complex64), "kernel"),
        (np.array([[b"a", b"b"]], object), "kernel"),
        (np.zeros((1, 1, 1, 1, 1, 1), np.float32), "kernel"),
    ],
)
def test_what_has_no_filters_gives_none(array: NDArray[Any], role: str) -> None:
    assert analyse(array, "x", role=role) is None


def test_planted_faults_are_found_and_nothing_else() -> None:
    kernel = normal((3, 3, 8, 24))
    kernel[..., 1] = 0
    kernel[..., 4] = 0.25
    kernel[..., 6] *= 1e-5
    kernel[1, 1, 3, 9] = np.nan
    kernel[0, 0, 0, 10] = -np.inf
    kernel[..., 15] = kernel[..., 12]
    kernel[..., 20] = kernel[..., 13] * np.float32(1.7)
    layer = layer_of(kernel)
    assert indices(layer, "zero") == [1]
    assert indices(layer, "constant") == [4]
    assert indices(layer, "dead") == [1, 6]
    assert indices(layer, "nonfinite") == [9, 10]
    assert {o.index: o.duplicate_of for o in layer.detail if o.duplicate_of is not None} == {15: 12, 20: 13}
    assert layer.counts == {
        "untouched": 0,
        "symmetric": 1,
        "antisymmetric": 0,
        "zero": 1,
        "constant": 1,
        "duplicate": 2,
        "nonfinite": 2,
        "dead": 2,
    }
    assert not layer.flagged_symmetric


def test_norms_of_filters_that_are_not_finite_are_over_the_finite_values() -> None:
    kernel = np.ones((2, 2, 1, 2), np.float32)
    kernel[0, 0, 0, 0] = np.inf
    assert layer_of(kernel).detail[0].l2 == pytest.approx(np.sqrt(3))
    huge = np.full((2, 2, 1, 2), 1e300)
    assert np.isfinite(layer_of(huge).detail[0].l2)
    assert layer_of(huge).counts["nonfinite"] == 0


def test_no_filter_is_dead_in_a_layer_of_zeros() -> None:
    layer = layer_of(np.zeros((3, 3, 4, 8), np.float32))
    assert (layer.counts["zero"], layer.counts["dead"], layer.counts["constant"]) == (8, 0, 0)
    assert layer.counts["duplicate"] == 0


def test_untouched_filters_carry_over_from_the_verdict() -> None:
    before = fresh_uniform((3, 3, 16, 32))
    after = moved(before)
    after[..., [2, 7]] = before[..., [2, 7]]
    layer = layer_of(after)
    assert indices(layer, "untouched") == [2, 7]
    assert layer.initializer["verdict"] == "partly"
    assert layer_of(before).counts["untouched"] == 32
    depthwise = fresh_uniform((5, 5, 16, 1))
    later = moved(depthwise)
    later[:, :, 3] = depthwise[:, :, 3]
    assert indices(layer_of(later, "depthwise_kernel"), "untouched") == [3]
    transposed = moved(before)
    transposed[:, :, 5] = before[:, :, 5]
    assert indices(layer_of(transposed, "conv2d_transpose/kernel"), "untouched") == [5]


def test_half_precision_is_widened() -> None:
    kernel = normal((3, 3, 8, 16))
    kernel[..., 3] = 0
    kernel = np.asarray((kernel + kernel[:, ::-1]) / 2)
    for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float64):
        layer = layer_of(kernel.astype(dtype))
        assert indices(layer, "zero") == [3]
        assert layer.detail[0].left_right == pytest.approx(1.0)


def test_near_duplicates_need_nine_values_a_filter() -> None:
    small = normal((2, 2, 2, 32))
    small[..., 9] = small[..., 4] * np.float32(1.5)
    assert layer_of(small).counts["duplicate"] == 0
    larger = normal((3, 3, 1, 32))
    larger[..., 9] = larger[..., 4] * np.float32(1.5)
    assert layer_of(larger).detail[9].duplicate_of == 4


def test_single_values_are_never_duplicates() -> None:
    assert layer_of(normal((1, 1, 1, 64))).counts["duplicate"] == 0


def test_equal_bits_count_from_two_values() -> None:
    kernel = normal((1, 1, 2, 64))
    kernel[..., 40] = kernel[..., 7]
    layer = layer_of(kernel)
    assert {o.index: o.duplicate_of for o in layer.detail if o.duplicate_of is not None} == {40: 7}
    assert layer_of(np.round(kernel * 20).astype(ml_dtypes.bfloat16)).counts["duplicate"] == 0
    assert layer_of(np.round(kernel * 20)).counts["duplicate"] == 0


def test_long_filters_are_compared_as_well() -> None:
    kernel = normal((3, 3, 128, 64))
    noise = np.linalg.norm(kernel[..., 10]) / np.sqrt(kernel[..., 10].size)
    kernel[..., 50] = kernel[..., 10] + normal((3, 3, 128), seed=3, scale=noise * 0.02)
    kernel[..., 51] = kernel[..., 11] + normal((3, 3, 128), seed=4, scale=noise * 0.2)
    layer = layer_of(kernel)
    assert {o.index: o.duplicate_of for o in layer.detail if o.duplicate_of is not None} == {50: 10}


def test_likeness_that_the_layer_itself_explains_is_no_duplicate() -> None:
    """Depthwise kernels that are mostly one spike in the middle are all nearly parallel."""
    kernel = normal((3, 3, 256, 1), scale=0.02)
    kernel[1, 1] += np.sign(normal((256, 1), seed=9))
    assert layer_of(kernel, "depthwise_kernel").counts["duplicate"] == 0


def test_a_layer_of_copies_is_all_duplicates() -> None:
    kernel = np.repeat(normal((3, 3, 8, 1)), 32, axis=-1)
    assert layer_of(kernel).counts["duplicate"] == 31
    wobbling = kernel * np.linspace(1, 2, 32, dtype=np.float32)
    assert layer_of(wobbling).counts["duplicate"] == 31


def test_details_are_bounded_and_keep_the_noteworthy() -> None:
    rows = normal((MOST_DETAILS + 3000, 8))
    rows[-5] = 0
    layer = layer_of(rows, role="embedding")
    assert layer.filters == MOST_DETAILS + 3000
    assert layer.counts["zero"] == 1
    assert len(layer.detail) == MOST_DETAILS
    assert [one.index for one in layer.detail if one.zero] == [MOST_DETAILS + 2995]
    assert layer.detail[0].index == 0


def test_layouts_are_views_of_the_array() -> None:
    for shape, name, role in (((3, 3, 4, 8), "k", "kernel"), ((9, 4), "k", "kernel"), ((9, 4), "e", "embedding")):
        kernel = normal(shape)
        layout = layout_of(kernel, role, name)
        assert layout is not None
        assert np.shares_memory(layout.matrix, kernel)


def test_arrays_that_are_not_contiguous_or_writable_are_fine() -> None:
    kernel = normal((4, 8, 3, 3)).transpose(2, 3, 1, 0)
    kernel.flags.writeable = False
    expected = layer_of(np.ascontiguousarray(kernel))
    got = layer_of(kernel)
    assert got.counts == expected.counts
    for one, other in zip(got.detail, expected.detail, strict=True):
        assert one.l2 == pytest.approx(other.l2)
        assert one.left_right == pytest.approx(other.left_right)


def best_time(kernel: Floats, name: str = "conv/kernel") -> float:
    seconds = []
    for _ in range(3):
        start = time.process_time()
        layer_of(kernel, name)
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_large_kernel_takes_a_fraction_of_a_second(fresh: bool) -> None:
    """150 ms of one idle core; the bound, in processor time, leaves room for threads that wait."""
    shape = (3, 3, 512, 512)
    assert best_time(fresh_uniform(shape) if fresh else normal(shape)) < 0.6
