"""The two largest magnitudes and the first value that is no number, piece by piece as in one go."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ckptui.core.peaks import Peaks, PeakWatch, peaks_of

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


def expected(flat: np.ndarray[Any, Any]) -> Peaks:
    """The plain way: sort the finite magnitudes."""
    wide = flat.astype(np.float64)
    bits = flat.view(f"u{flat.dtype.itemsize}")
    odd = np.flatnonzero(~np.isfinite(wide))
    told = {"odd_at": int(odd[0]), "odd_bits": int(bits[odd[0]])} if odd.size else {}
    magnitudes = np.where(np.isfinite(wide), np.abs(wide), -1.0)
    if not (magnitudes >= 0).any():
        return Peaks(**told)
    at = int(magnitudes.argmax())
    second = float(np.sort(magnitudes)[-2]) if flat.size > 1 else -1.0
    return Peaks(float(wide[at]), at, second if second >= 0 else None, int(bits[at]), **told)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_pieces_give_what_sorting_gives(dtype: Any, data: st.DataObject) -> None:
    size = np.dtype(dtype).itemsize
    raw = data.draw(hnp.arrays(f"u{size}", st.integers(1, 40), elements=st.integers(0, 2 ** (8 * size) - 1)))
    flat = raw.view(dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, flat.size), max_size=4)))
    watch = PeakWatch()
    with np.errstate(all="ignore"):
        for start, end in zip([0, *cuts], [*cuts, flat.size], strict=True):
            if end > start:
                piece = flat[start:end]
                watch.add(piece, start, float(np.minimum.reduce(piece)), float(np.maximum.reduce(piece)))
        assert watch.result() == expected(flat)
        assert peaks_of(flat) == expected(flat)


def test_nothing_has_no_peaks() -> None:
    assert peaks_of(np.zeros(0, np.float32)) == Peaks()
    assert peaks_of(np.full(3, np.nan, np.float32)).largest is None
