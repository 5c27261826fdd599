"""Mirror correlation as the contract defines it, and what chance gives of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptui.core.filters import analyse
from ckptui.core.layout import layout_of
from ckptui.core.model import Layer
from ckptui.core.symmetry import chance_of_some, flips_of
from tests.core.draws import Floats, normal


def layer_of(kernel: Floats, name: str = "conv/kernel") -> Layer:
    layer = analyse(kernel, name)
    assert layer is not None
    return layer


def plainly(kernel: Floats, flip: str, index: int) -> float:
    """r = <w, F w> / <w, w> over the moved cells, written down word by word."""
    w = kernel[..., index].astype(np.float64)
    where = np.arange(w.shape[0] * w.shape[1]).reshape(w.shape[:2])

    def turn(x: NDArray[Any]) -> NDArray[Any]:
        images = {"left_right": x[:, ::-1], "up_down": x[::-1], "rotate_180": x[::-1, ::-1]}
        return images.get(flip, np.swapaxes(x, 0, 1))

    moves = where != turn(where)
    return float((w * turn(w))[moves].sum() / (w * w)[moves].sum())


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (5, 5, 1, 6), (2, 2, 3, 4), (4, 4, 2, 3)])
def test_every_flip_is_what_its_definition_says(shape: tuple[int, ...]) -> None:
    kernel = normal(shape)
    for one in layer_of(kernel).detail:
        for flip in ("left_right", "up_down", "rotate_180", "transpose"):
            assert getattr(one, flip) == pytest.approx(plainly(kernel, flip, one.index), abs=1e-12)


def test_the_middle_column_does_not_count() -> None:
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[:, :, 0, 0] = [[1, 100, 1], [2, -50, 2], [3, 7, 3]]
    one = layer_of(kernel).detail[0]
    assert one.left_right == pytest.approx(1.0)
    kernel[:, 2] *= -1
    assert layer_of(kernel).detail[0].left_right == pytest.approx(-1.0)


def test_sobel_is_antisymmetric_one_way_and_symmetric_the_other() -> None:
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32).reshape(3, 3, 1, 1)
    one = layer_of(kernel).detail[0]
    assert one.left_right == pytest.approx(-1.0)
    assert one.up_down == pytest.approx(1.0)
    counts = layer_of(kernel).counts
    assert (counts["symmetric"], counts["antisymmetric"]) == (1, 1)


def test_kernels_that_no_flip_moves_have_no_correlation() -> None:
    for shape in ((1, 1, 8, 4), (8, 4), (1, 8, 4)):
        layer = layer_of(normal(shape))
        assert layer.expected_symmetric is None
        assert layer.symmetry_p_value is None
        assert layer.symmetry == {}
        one = layer.detail[0]
        assert (one.left_right, one.up_down, one.rotate_180, one.transpose) == (None, None, None, None)


def test_axes_that_can_not_flip_have_none() -> None:
    line = layer_of(normal((5, 4, 6))).detail[0]
    assert line.left_right is not None
    assert (line.up_down, line.rotate_180, line.transpose) == (None, None, None)
    column = layer_of(normal((3, 1, 4, 6))).detail[0]
    assert (column.left_right, column.transpose) == (None, None)
    assert column.up_down == pytest.approx(column.rotate_180)
    flat = layer_of(normal((3, 5, 4, 6))).detail[0]
    assert flat.transpose is None
    assert flat.left_right is not None


def test_volumes_flip_in_the_image_plane() -> None:
    kernel = normal((2, 3, 3, 4, 5))
    kernel = np.asarray(kernel + kernel[:, :, ::-1], dtype=np.float32)
    layer = layer_of(kernel)
    assert layer.kernel == (2, 3, 3)
    assert layer.detail[0].left_right == pytest.approx(1.0)
    assert layer.flagged_symmetric


def test_moved_cells_that_are_all_zero_give_none() -> None:
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[:, 1] = 1.0
    one = layer_of(kernel).detail[0]
    assert one.left_right is None
    assert one.up_down is not None


def test_filters_with_nan_have_no_correlation_and_do_not_spoil_the_others() -> None:
    kernel = normal((3, 3, 2, 4))
    kernel[0, 0, 0, 1] = np.nan
    layer = layer_of(kernel)
    assert layer.detail[1].left_right is None
    assert layer.detail[0].left_right == pytest.approx(plainly(kernel, "left_right", 0))
    assert layer.symmetry["left_right"]["mean_r"] == layer.symmetry["left_right"]["mean_r"]


@pytest.mark.parametrize(
    ("shape", "law", "low", "high"),
    [
        ((3, 3, 1, 32), "normal", 0.017, 0.026),
        ((3, 3, 1, 32), "uniform", 0.032, 0.045),
        ((2, 2, 1, 64), "normal", 0.12, 0.18),
        ((3, 1, 64), "normal", 0.08, 0.12),
        ((3, 3, 3, 32), "normal", 5e-6, 5e-5),
        ((3, 3, 64, 32), "normal", 0.0, 1e-20),
    ],
)
def test_chance_rates_are_those_of_independent_weights(
    shape: tuple[int, ...], law: str, low: float, high: float
) -> None:
    draw = np.random.default_rng(4)
    many = (*shape[:-1], 20_000 if shape[-2] < 9 else 64)
    kernel = (draw.normal(size=many) if law == "normal" else draw.uniform(-1, 1, many)).astype(np.float32)
    layout = layout_of(kernel, "kernel")
    assert layout is not None
    assert low <= chance_of_some(layout, flips_of(layout.kernel)).rate <= high


def test_symmetric_filters_by_chance_are_not_flagged() -> None:
    """A healthy 64-filter layer shows three or more about every second time."""
    seen = 0
    for seed in range(25):
        layer = layer_of(normal((3, 3, 1, 64), seed))
        seen += layer.counts["symmetric"] >= 3
        assert not layer.flagged_symmetric
        assert layer.symmetry_p_value is not None
        assert layer.symmetry_p_value > 1e-6
    assert seen > 1


def test_a_mirrored_layer_is_flagged() -> None:
    kernel = normal((3, 3, 1, 32))
    layer = layer_of(np.asarray((kernel + kernel[:, ::-1]) / 2, dtype=np.float32))
    assert layer.counts["symmetric"] == 32
    assert layer.flagged_symmetric
    assert layer.symmetry_p_value is not None
    assert layer.symmetry_p_value < 1e-6
    assert layer.symmetry["left_right"]["z"] > 10


def test_one_exactly_mirrored_filter_is_flagged_although_the_count_is_not_unusual() -> None:
    kernel = normal((3, 3, 1, 32), seed=3)
    kernel[:, 0, :, 5] = kernel[:, 2, :, 5]
    layer = layer_of(kernel)
    assert layer.detail[5].left_right == pytest.approx(1.0)
    assert layer.symmetry_p_value is not None
    assert layer.symmetry_p_value > 1e-6
    assert layer.flagged_symmetric


def test_coarse_weights_are_not_called_exactly_symmetric_for_equal_roundings() -> None:
    draw = np.random.default_rng(0)
    kernel = draw.choice([-1.0, 0.0, 1.0], (3, 1, 64)).astype(np.float32)
    layer = layer_of(kernel)
    assert layer.counts["symmetric"] > 0
    assert not layer.flagged_symmetric


def test_constant_filters_count_but_do_not_flag_the_layer() -> None:
    layer = layer_of(np.ones((3, 3, 4, 16), np.float32))
    assert layer.counts["symmetric"] == 16
    assert layer.counts["constant"] == 16
    assert not layer.flagged_symmetric


def test_pooled_z_is_a_standard_normal_for_independent_weights() -> None:
    z = [layer_of(normal((3, 3, 8, 32), seed)).symmetry["left_right"]["z"] for seed in range(40)]
    assert abs(np.mean(z)) < 0.6
    assert 0.7 < np.std(z) < 1.4


def test_exact_symmetry_of_few_levels_counts_where_the_levels_do_not_explain_it() -> None:
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)
    kernel = np.broadcast_to(sobel[:, :, None, None], (3, 3, 3, 16))
    layer = analyse(np.ascontiguousarray(kernel), "conv/kernel")
    assert layer is not None
    assert layer.flagged_symmetric
    assert sum(f.mirrored > 0 for f in layer.detail) == 16
    assert layer.counts["duplicate"] == 15
    draw = np.random.default_rng(5)
    levels = draw.integers(-4, 5, (3, 3, 4, 32)).astype(np.float32)
    levels[..., :5] = (levels + levels[:, ::-1])[..., :5]
    mixed = analyse(levels, "conv/kernel")
    assert mixed is not None
    assert [f.index for f in mixed.detail if f.mirrored > 0] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("most", [1, 2, 7])
def test_levels_at_random_have_no_symmetry(most: int) -> None:
    false = 0
    for seed in range(15):
        draw = np.random.default_rng(seed)
        for channels in (1, 2, 3, 4, 8):
            levels = draw.integers(-most, most + 1, (3, 3, channels, 64)).astype(np.float32)
            sparse = levels * (draw.random(levels.shape) < 0.3)
            for kernel in (levels, sparse, np.sign(levels) + 0.5):
                layer = analyse(kernel.astype(np.float32), "conv/kernel")
                false += layer is not None and layer.flagged_symmetric
    print(f"levels up to {most}: {false} of 225 random layers flagged")
    assert false == 0


def test_a_constant_filter_is_no_part_of_what_chance_gives() -> None:
    array = np.random.default_rng(4).normal(size=(5, 4, 30)).astype(np.float32)
    plain = layout_of(array, "kernel")
    assert plain is not None
    before = chance_of_some(plain, flips_of(plain.kernel)).rate
    array[:, :, 7] = 0.25
    layout = layout_of(array, "kernel")
    assert layout is not None
    assert chance_of_some(layout, flips_of(layout.kernel)).rate < 2 * before + 1e-4
