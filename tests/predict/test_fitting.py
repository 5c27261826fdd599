"""Arrays made to fit what an input states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptui.errors import UsageError
from ckptui.predict.fitting import fitted


@pytest.mark.parametrize(
    ("shape", "wanted", "made"),
    [
        ((), (), ()),
        ((1,), (), ()),
        ((), (None, 1), (1, 1)),
        ((), (None,), (1,)),
        ((1,), (None, 1), (1, 1)),
        ((3, 1), (None, 1), (3, 1)),
        ((28, 28), (None, 28, 28), (1, 28, 28)),
    ],
)
def test_one_value_is_a_batch_of_one(shape: tuple[int, ...], wanted: tuple[Any, ...], made: tuple[int, ...]) -> None:
    values, _ = fitted(np.full(shape, 7, np.float32), {"name": "x", "dtype": "float32", "shape": wanted}, "a.npy")
    assert values.shape == made
    assert (values == 7).all()


@pytest.mark.parametrize(("shape", "wanted"), [((), (None, 2)), ((2,), ()), ((1,), (None, 28, 28)), ((3,), (2, 1))])
def test_nothing_is_made_up(shape: tuple[int, ...], wanted: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        fitted(np.zeros(shape, np.float32), {"name": "x", "dtype": "float32", "shape": wanted}, "a.npy")


@pytest.mark.parametrize(
    ("shape", "wanted", "made"),
    [((3,), (None, 1), (3, 1)), ((0,), (None, 1), (0, 1)), ((2, 28, 28), (None, 28, 28, 1), (2, 28, 28, 1))],
)
def test_a_last_axis_of_one_is_added_and_said(shape: tuple[int, ...], wanted: tuple[Any, ...], made: Any) -> None:
    entry = {"name": "x", "dtype": "float32", "shape": wanted}
    given = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    values, notes = fitted(given, entry, "a.npy")
    assert values.shape == made
    assert values.reshape(-1).tolist() == given.reshape(-1).tolist()
    assert notes == ["x: a last axis of 1 was added"]


def test_what_does_not_fit_is_told_as_a_shape() -> None:
    entry = {"name": "x", "dtype": "float32", "shape": (None, 2)}
    with pytest.raises(UsageError, match=r"a\.npy holds the shape 3, x takes float32 \?×2"):
        fitted(np.zeros(3, np.float32), entry, "a.npy")
    with pytest.raises(UsageError, match=r"a\.npy holds a single value, x takes float32 \?×2"):
        fitted(np.zeros((), np.float32), entry, "a.npy")
