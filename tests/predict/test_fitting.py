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


@pytest.mark.parametrize(("shape", "wanted"), [((), (None, 2)), ((2,), ()), ((1,), (None, 28, 28)), ((3,), (None, 1))])
def test_nothing_is_made_up(shape: tuple[int, ...], wanted: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        fitted(np.zeros(shape, np.float32), {"name": "x", "dtype": "float32", "shape": wanted}, "a.npy")
