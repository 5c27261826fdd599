"""TensorFlow's dtypes against numpy's and ml_dtypes'."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ckptui.core import dtypes


def test_every_number_of_the_enum_has_a_name_of_its_own() -> None:
    assert sorted(dtypes.NAMES) == list(range(1, 34))
    assert len(set(dtypes.NAMES.values())) == 33
    assert all(dtypes.NAMES[dtypes.NUMBERS[name]] == name for name in dtypes.NAMES.values())


def test_unknown_numbers_keep_their_number() -> None:
    assert dtypes.dtype_name(1) == "float32"
    assert dtypes.dtype_name(99) == "#99"
    assert dtypes.dtype_name(-3) == "#-3"


@pytest.mark.parametrize("name", sorted(dtypes.ITEMSIZE))
def test_numpy_elements_are_as_wide_as_stored_ones(name: str) -> None:
    assert dtypes.np_dtype(name).itemsize == dtypes.ITEMSIZE[name]
    assert dtypes.np_dtype(name).isnative


@pytest.mark.parametrize("name", ["string", "variant", "resource", "#99", ""])
def test_dtypes_without_a_fixed_size_are_refused(name: str) -> None:
    with pytest.raises(KeyError):
        dtypes.np_dtype(name)


def test_quantised_integers_show_as_plain_ones() -> None:
    assert dtypes.np_dtype("qint8") == np.int8
    assert dtypes.np_dtype("quint16") == np.uint16
    assert dtypes.np_dtype("qint32") == np.int32


def test_what_the_installed_ml_dtypes_lacks_shows_as_raw_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ml_dtypes, "float8_e4m3fnuz")
    monkeypatch.delattr(ml_dtypes, "bfloat16")
    assert dtypes.np_dtype("float8_e4m3fnuz") == np.uint8
    assert dtypes.np_dtype("bfloat16") == np.uint16


def test_every_sized_dtype_is_of_one_family() -> None:
    families = (dtypes.is_float, dtypes.is_complex, dtypes.is_integer, lambda name: name == "bool")
    for name in dtypes.ITEMSIZE:
        assert sum(bool(family(name)) for family in families) == 1, name
    assert not any(family("string") for family in families)
    assert dtypes.is_float("bfloat16")
    assert dtypes.is_float("float4_e2m1fn")
    assert dtypes.is_integer("int2")
    assert dtypes.is_integer("quint8")
