"""What is said of implausible values: place, bit, certainty, advice, and the words of a row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding, Role, Segment, Storage, Tensor
from ckptui.core.peaks import peaks_of
from ckptui.core.report import finding_lines, state_word
from ckptui.core.stats import stats_of
from ckptui.triage.values import value_findings

Array = np.ndarray[Any, Any]
PLAIN = Storage("plain", Segment("/m.h5", 1000, 4 * 240))
VOUCHED = Storage("plain", Segment("/m.data-00000-of-00001", 1000, 4 * 240), crc32c=5)


def flipped(at: int, bit: int, scale: float = 0.1) -> Array:
    array = np.random.default_rng(2).normal(0, scale, (3, 4, 20)).astype("f4")
    array.reshape(-1).view("u4")[at] ^= np.uint32(1 << bit)
    return array


def told(array: Array, storage: Storage = PLAIN, role: Role = "kernel", **options: Any) -> list[Finding]:
    name = options.pop("name", "conv/kernel")
    tensor = Tensor(name, array.dtype.name, array.shape, array.nbytes, role=role, storage=storage)
    found = value_findings("/m.h5", tensor, stats_of(array, array.dtype.name), peaks=peaks_of(array), **options)
    json.dumps([f.to_json() for f in found])
    return found


def test_a_flipped_bit_is_told_with_its_place_and_what_it_gives_back() -> None:
    before = float(flipped(0, 0).reshape(-1)[105])
    (one,) = told(flipped(105, 30))
    assert (one.code, one.severity, one.certainty) == ("implausible-values", "error", "confirmed")
    assert one.evidence["index"] == [1, 1, 5]
    flip = one.evidence["flipped_bit"]
    assert (flip["bit"], flip["value"], flip["offset"], flip["file"]) == (30, before, 1000 + 4 * 105 + 3, "/m.h5")
    assert one.evidence["ratio"] == pytest.approx(abs(one.evidence["value"]) / one.evidence["second"])
    assert "at [1, 1, 5]" in one.title
    assert "bit 30" in one.title
    text = "\n".join(finding_lines(one))
    assert "bit 30 turned back gives" in text
    assert "byte 1423 of the file" in text
    assert "ckptui diff" in text
    assert state_word(one) == "implausible"


def test_a_planted_value_is_told_as_one() -> None:
    array = flipped(0, 0)
    array[2, 0, 0] = 1e4
    (one,) = told(array)
    assert (one.severity, one.certainty) == ("error", "likely")
    assert "far below the others: it may have been written so" in one.detail
    array *= np.float32(1e-30)
    array[2, 0, 0] = 1.9
    (one,) = told(array)
    assert (one.severity, one.certainty, one.evidence["flipped_bit"]) == ("error", "likely", None)
    assert "no single flipped bit explains it" in one.detail


def test_where_the_checksum_holds_the_value_was_written_so() -> None:
    (one,) = told(flipped(105, 30), VOUCHED, vouched=True)
    assert (one.severity, one.certainty) == ("error", "likely")
    assert one.evidence["checksum_holds"]
    assert "its checksum holds" in one.detail
    assert "memory" in one.advice
    (unchecked,) = told(flipped(105, 30), VOUCHED)
    assert "ckptui check" in unchecked.advice


def test_one_nan_that_a_bit_explains() -> None:
    healthy = flipped(3, 0, 1.0)
    healthy.reshape(-1)[105] = before = 1.25
    array = healthy.copy()
    array.reshape(-1).view("u4")[105] ^= np.uint32(1 << 30)
    (one,) = told(array)
    assert (one.code, one.certainty, one.evidence["nan"]) == ("non-finite", "confirmed", 1)
    assert one.evidence["flipped_bit"]["bit"] == 30
    assert one.evidence["flipped_bit"]["value"] == before
    assert "turned back" in one.title
    assert state_word(one) == "NaN 1"
    (vouched,) = told(array, VOUCHED, vouched=True)
    assert "flipped_bit" not in vouched.evidence
    assert vouched.evidence["flat_index"] == 105


def test_one_nan_that_no_bit_explains() -> None:
    array = flipped(0, 0, 0.01)
    array[0, 0, 1] = np.nan
    (one,) = told(array)
    assert "flipped_bit" not in one.evidence
    assert one.evidence["index"] == [0, 0, 1]
    array[0, 0, 2] = np.inf
    (two,) = told(array)
    assert "index" not in two.evidence


@pytest.mark.parametrize("name", ["normalization/mean", "normalization/variance:0", "preprocess/normalization/mean"])
def test_what_normalization_keeps_of_raw_data_may_have_any_ratio(name: str) -> None:
    columns = np.array([28.6, 2.4, 0.47, 1_425.0, 10.4, 2.1, 35.6, 119.5, 1.28e6, 7.0], "f4")
    storage = Storage("plain", Segment("/m.h5", 0, 40))
    assert not told(columns, storage, "other", name=name)
    (one,) = told(columns, storage, "moving-variance", name="bn/moving_variance")
    assert (one.severity, one.certainty) == ("warning", "possible")
    assert "raw data" in one.detail


def test_a_bit_in_zeros() -> None:
    array = np.zeros((3, 4, 20), "f4")
    array.reshape(-1).view("u4")[7] = 1 << 30
    (one,) = told(array, role="bias")
    assert (one.severity, one.evidence["ratio"], one.evidence["second"]) == ("error", None, 0.0)
    assert "the only one that is not 0" in one.detail
    array.reshape(-1).view("u4")[7] = 1 << 3
    (one,) = told(array, role="bias")
    assert (one.severity, one.certainty) == ("warning", "likely")
    assert "too small to matter" in one.detail


def test_a_bit_is_named_in_the_title_only_where_it_gives_back_a_value_like_the_others() -> None:
    array = flipped(0, 0)
    array[2, 0, 0] = 4e5
    (one,) = told(array)
    assert "bit" not in one.title
    assert "it may have been written so" in one.title
    assert "flipped bit" not in one.advice
    assert one.evidence["flipped_bit"]["bit"] == 30
    (flip,) = told(flipped(105, 30))
    assert "with bit 30 turned back" in flip.title
    assert "One flipped bit" in flip.advice


@pytest.mark.parametrize(("scale", "severity", "certainty"), [(1e6, "warning", "possible"), (1e13, "error", "likely")])
def test_moving_statistics_are_judged_by_their_ratio(scale: float, severity: str, certainty: str) -> None:
    for unit in (1e-3, 1.0, 1e4):
        columns = (np.linspace(0.5, 1.0, 24) * unit).astype("f4")
        columns[5] = scale * unit
        (one,) = told(columns, Storage("plain", Segment("/m.h5", 0, 96)), "moving-variance", name="bn/moving_variance")
        assert one.severity == severity
        assert ("far from all others" in one.title) is (certainty == "possible")
        assert (one.certainty == "possible") is (certainty == "possible")
