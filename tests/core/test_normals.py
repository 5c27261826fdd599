"""Filters and rows of normal-initialised kernels that never moved, by the pairs they were drawn in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.grid import nudge
from ckptui.core.initializers import Verdict, verdict
from ckptui.core.layout import layout_of
from ckptui.core.normals import Order
from tests.core.draws import fresh_normal, moved, normal

HE = {"class_name": "HeNormal", "config": {"seed": None}}
PLAIN = {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.05}}
SHAPES = [(3, 3, 16, 32), (3, 3, 8, 33), (64, 48), (96, 15), (5, 8, 16), (2, 3, 3, 4, 8)]


def named(said: Verdict) -> list[int]:
    return [] if said.filters is None else [int(i) for i in np.flatnonzero(said.filters)]


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_fresh_normals_are_confirmed_with_every_filter(shape: tuple[int, ...], known: bool, truncated: bool) -> None:
    said = verdict(fresh_normal(shape, truncated=truncated), config=(HE if truncated else PLAIN) if known else None)
    assert (said.verdict, said.certainty, said.test) == ("at-initializer", "confirmed", "pairs")
    assert len(named(said)) == shape[-1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_are_told_from_moved_ones_in_either_width(dtype: type) -> None:
    kernel = fresh_normal((1 << 14,), dtype=dtype)
    _, fresh = Order().angles(kernel[::2], kernel[1::2])
    far = nudge(kernel)
    _, off = Order().angles(far[::2], far[1::2])
    rates = float((fresh < 0.1).mean()), float((off < 0.1).mean())
    print(f"{np.dtype(dtype)}: on the grid are {rates[0]:.4f} of fresh pairs and {rates[1]:.4f} of moved ones")
    assert rates[0] > 0.98
    assert abs(rates[1] - 0.2) < 0.02


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("scale", [1e-7, 1e-5, 1e-3])
def test_moved_normals_are_trained(scale: float, truncated: bool) -> None:
    wrong = []
    for seed in range(20):
        said = verdict(moved(fresh_normal((3, 3, 16, 32), seed=seed, truncated=truncated), scale, seed + 1))
        wrong += [(seed, said)] if said.verdict != "trained" or named(said) else []
    assert wrong == []


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize(("shape", "planted"), [((3, 3, 16, 32), [4, 5, 20, 21]), ((3, 3, 16, 33), [7, 8, 9])])
def test_filters_drawn_together_are_named(shape: tuple[int, ...], planted: list[int], truncated: bool) -> None:
    for seed in range(10):
        before = fresh_normal(shape, seed=seed, truncated=truncated)
        after = moved(before, seed=seed + 100)
        after[..., planted] = before[..., planted]
        said = verdict(after)
        assert (said.verdict, said.certainty) == ("partly", "likely"), (seed, said)
        assert named(said) == planted, (seed, named(said))


def test_a_filter_whose_neighbour_moved_says_nothing() -> None:
    """Every value is a possible one: nobody is named, and nobody wrongly."""
    before = fresh_normal((3, 3, 16, 32))
    after = moved(before)
    after[..., [2, 7, 11]] = before[..., [2, 7, 11]]
    assert verdict(after).verdict == "trained"


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("width", [64, 65])
def test_rows_no_gradient_reached_are_named(width: int, truncated: bool) -> None:
    before = fresh_normal((200, width), truncated=truncated)
    after = moved(before)
    rows = [0, 17, 18, 199]
    after[rows] = before[rows]
    dense = verdict(after)
    assert (dense.verdict, list(dense.rows), named(dense)) == ("partly", rows, [])
    embedding = verdict(after, "embedding")
    assert (embedding.verdict, named(embedding)) == ("partly", rows)


def test_kernels_that_end_in_inputs_keep_their_pairs_within_a_filter() -> None:
    before = fresh_normal((3, 3, 24, 16))
    after = moved(before)
    after[:, :, [3, 10, 23]] = before[:, :, [3, 10, 23]]
    layout = layout_of(after, "kernel", "conv2d_transpose/kernel")
    assert layout is not None
    assert layout.filters == 24
    said = verdict(after, layout=layout)
    assert (said.verdict, named(said)) == ("partly", [3, 10, 23])


def test_one_filter_that_moved_among_many_is_left_out() -> None:
    kernel = fresh_normal((3, 3, 16, 64))
    kernel[..., 10] += np.float32(1e-3)
    said = verdict(kernel)
    assert said.verdict == "partly"
    assert named(said) == [i for i in range(64) if i not in (10, 11)]


def test_pruned_normals_keep_their_verdict() -> None:
    kernel = fresh_normal((64, 64))
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.5] = 0
    assert verdict(kernel).verdict == "at-initializer"
    kernel = fresh_normal((3, 3, 16, 32))
    kernel[..., [3, 4, 9]] = 0
    assert verdict(kernel).verdict == "at-initializer"


@pytest.mark.parametrize("factor", [1.0, -1.0, 2.0, 0.5, 3.0])
def test_repeated_neighbours_are_no_pairs(factor: float) -> None:
    """One angle for all pairs of two filters is on the grid by one chance, not by many."""
    kernel = normal((3, 3, 16, 32))
    kernel[..., 1::2] = kernel[..., ::2] * np.float32(factor)
    assert verdict(kernel).verdict == "trained"
    assert not named(verdict(kernel))


def test_the_mean_a_config_tells_is_taken_off() -> None:
    config = {"class_name": "RandomNormal", "config": {"mean": 0.02, "stddev": 0.05}}
    kernel = np.asarray(fresh_normal((3, 3, 16, 32)) + np.float32(0.02), dtype=np.float32)
    assert verdict(kernel, config=config).verdict == "at-initializer"
    assert verdict(moved(kernel), config=config).verdict == "trained"
    far = np.asarray(fresh_normal((3, 3, 16, 32)) + np.float32(3.0), dtype=np.float32)
    config["config"]["mean"] = 3.0  # type: ignore[index]
    assert verdict(far, config=config).verdict == "undecided"


def test_names_among_trained_normals_come_by_chance_in_none_of_many() -> None:
    wrong = [
        (seed, said.verdict, named(said), said.rows)
        for seed in range(300)
        for said in (verdict(normal((3, 3, 4, 32), seed=seed)),)
        if said.verdict != "trained"
    ]
    print(f"300 kernels of 32 filters and 4 inputs without a trace of an initializer: {len(wrong)} judged otherwise")
    assert wrong == []


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 17)),
    seed=st.integers(0, 1000),
    truncated=st.booleans(),
    moving=st.booleans(),
)
def test_any_shape_gets_a_verdict_that_does_not_contradict_it(
    shape: tuple[int, int, int], seed: int, truncated: bool, moving: bool
) -> None:
    kernel = fresh_normal(shape, seed=seed, truncated=truncated)
    said = verdict(moved(kernel, seed=seed) if moving else kernel)
    allowed = {"trained", "undecided"} if moving else {"at-initializer", "undecided"}
    assert said.verdict in allowed
    if not moving and math.prod(shape) >= 100:
        assert said.verdict == "at-initializer"
