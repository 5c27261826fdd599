"""What a tensor's numbers turn into, and what they must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from ckptui.core.filters import analyse
from ckptui.core.model import Finding, Role, Stats, Tensor
from ckptui.core.report import state_word
from ckptui.triage.values import Row, value_findings
from tests.core.draws import fresh_normal, fresh_uniform, moved, normal


def tensor(role: Role = "kernel", name: str = "conv/kernel", dtype: str = "float32", count: int = 64) -> Tensor:
    return Tensor(name, dtype, (count,), 4 * count, layer="conv", role=role)


def stats(array: NDArray[Any]) -> Stats:
    wide = np.asarray(array, dtype=np.float64).ravel()
    finite = wide[np.isfinite(wide)]
    return Stats(
        count=wide.size,
        finite=finite.size,
        nan=int(np.isnan(wide).sum()),
        posinf=int(np.isposinf(wide).sum()),
        neginf=int(np.isneginf(wide).sum()),
        zeros=int((wide == 0).sum()),
        min=float(finite.min()) if finite.size else None,
        max=float(finite.max()) if finite.size else None,
    )


def found(array: NDArray[Any], role: Role = "kernel", siblings: list[Row] | None = None) -> list[Finding]:
    name = "depthwise_kernel" if array.ndim == 4 and array.shape[-1] == 1 else "conv/kernel"
    layer = analyse(array, name, role=role)
    result = value_findings("save", tensor(role), stats(array), layer, siblings)
    json.dumps([f.to_json() for f in result])
    return result


def codes(array: NDArray[Any], role: Role = "kernel") -> list[str]:
    return [f.code for f in found(array, role)]


def test_a_healthy_kernel_gives_nothing() -> None:
    assert codes(normal((3, 3, 8, 16))) == []
    assert codes(moved(fresh_uniform((64, 32)))) == []


def test_values_that_are_not_finite_are_an_error_with_counts() -> None:
    array = normal((64,))
    array[[1, 2]] = np.nan
    array[3] = -np.inf
    (one,) = value_findings("save", tensor("bias"), stats(array))
    assert (one.code, one.severity, one.certainty) == ("non-finite", "error", "confirmed")
    assert one.evidence == {"nan": 2, "posinf": 0, "neginf": 1, "count": 64}
    assert one.detail == "2 NaN, 1 -inf among 64 values"
    assert state_word(one) == "NaN 2 inf 1"


@pytest.mark.parametrize("role", ["kernel", "embedding"])
def test_kernels_and_embeddings_of_one_value_are_warned_about(role: Role) -> None:
    assert codes(np.zeros((3, 3, 8, 16), np.float32), role) == ["all-zero"]
    assert codes(np.full((16, 8), 0.5, np.float32), role) == ["constant"]


@pytest.mark.parametrize(
    "role", ["bias", "beta", "gamma", "moving-mean", "moving-variance", "slot", "counter", "step", "other"]
)
def test_zeros_are_normal_elsewhere(role: Role) -> None:
    zeros = np.zeros(64, np.float32)
    assert value_findings("save", tensor(role), stats(zeros)) == []
    assert value_findings("save", tensor(role), stats(zeros + 1)) == []


def test_an_untouched_layer_is_named_with_its_initializer() -> None:
    (one,) = found(fresh_uniform((3, 3, 8, 16)))
    assert (one.code, one.severity, one.certainty) == ("at-initializer", "warning", "confirmed")
    assert one.evidence["match"] == "glorot_uniform"
    assert "glorot_uniform" in one.detail
    assert state_word(one) == "untouched"


def test_an_untouched_kernel_beside_a_bias_that_moved_is_told_as_such() -> None:
    kernel, bias = fresh_uniform((3, 3, 8, 16)), tensor("bias", "conv/bias", count=16)
    (one,) = found(kernel, siblings=[(bias, stats(normal((16,))))])
    assert (one.certainty, one.evidence["moved"]) == ("confirmed", "bias")
    assert "its bias has moved" in one.detail
    assert "learning rate" in one.advice
    (other,) = found(kernel, siblings=[(bias, stats(np.zeros(16)))])
    assert "moved" not in other.evidence


def test_untouched_filters_are_listed() -> None:
    before = fresh_uniform((3, 3, 16, 32))
    after = moved(before)
    after[..., [2, 7, 11]] = before[..., [2, 7, 11]]
    (one,) = found(after)
    assert (one.code, one.severity) == ("untouched-filters", "warning")
    assert one.evidence["filters"] == [2, 7, 11]
    assert one.detail == "3 of 32 filters are exactly as drawn"
    assert state_word(one) == "3 untouched"


def test_rows_an_embedding_never_used_are_no_alarm() -> None:
    before = fresh_uniform((60, 16), 0.05)
    after = moved(before)
    after[:10] = before[:10]
    (one,) = found(after, "embedding")
    assert (one.code, one.severity) == ("untouched-filters", "info")
    after[:40] = before[:40]
    assert [f.severity for f in found(after, "embedding")] == ["warning"]


@pytest.mark.parametrize("draw", [fresh_uniform, fresh_normal])
def test_unused_rows_of_an_embedding_have_the_same_words_named_or_not(draw: Callable[..., NDArray[Any]]) -> None:
    before = draw((200, 16))
    after = moved(before)
    after[120:] = before[120:]
    (one,) = found(after, "embedding")
    assert (one.severity, one.title) == ("info", "Some embedding rows never came up in training")
    assert "rows" in one.detail


def test_single_values_that_never_moved_are_an_info_up_to_half_of_them() -> None:
    before = fresh_uniform((3, 3, 1, 32))
    for every, severity in ((3, "info"), (None, "warning")):
        after = moved(before)
        at = np.arange(after.size)
        keep = at % 3 == 0 if every else at % 4 != 0
        after.reshape(-1)[keep] = before.reshape(-1)[keep]
        (one,) = found(after)
        assert (one.severity, one.title) == (severity, "Some values are untouched since the initializer")
        assert "exactly as drawn; chance gives" in one.detail


def test_inputs_that_never_reached_a_layer_count_from_a_quarter() -> None:
    before = fresh_uniform((64, 24))
    after = moved(before)
    after[:4] = before[:4]
    assert found(after) == []
    after[:32] = before[:32]
    (one,) = found(after)
    assert (one.severity, one.detail) == ("info", "the weights of 32 of 64 inputs are exactly as drawn")


def test_symmetric_filters_are_reported_only_beyond_chance() -> None:
    kernel = normal((3, 3, 1, 32))
    assert codes(kernel) == []
    half = kernel.copy()
    half[..., :12] = (kernel + kernel[:, ::-1])[..., :12] / 2
    (one,) = found(half)
    assert one.code == "symmetric-filters"
    assert one.detail.startswith("12 of 32 filters mirror-symmetric; chance gives ")
    assert one.evidence["p_value"] < 1e-6
    assert state_word(one) == "12 symmetric"


def test_dead_and_duplicate_filters_are_listed() -> None:
    kernel = normal((3, 3, 8, 16))
    kernel[..., [3, 5]] = 0
    kernel[..., 9] *= 1e-6
    kernel[..., 12] = kernel[..., 1]
    by_code = {f.code: f for f in found(kernel)}
    assert set(by_code) == {"dead-filters", "duplicate-filters"}
    assert by_code["dead-filters"].evidence["filters"] == [3, 5, 9]
    assert "2 of them are all zero" in by_code["dead-filters"].detail
    assert by_code["duplicate-filters"].evidence["pairs"] == [[12, 1]]
    assert state_word(by_code["dead-filters"]) == "3 dead"


def test_filters_of_one_value_are_told_where_chance_does_not_make_them() -> None:
    kernel = normal((3, 3, 8, 16))
    kernel[..., 5] = 0.25
    kernel[..., 9] = -2.0
    (one,) = found(kernel)
    assert (one.code, one.severity, one.title) == ("constant-filters", "warning", "Filters of one value")
    assert (one.evidence["filters"], one.evidence["constant"], one.evidence["of"]) == ([5, 9], 2, 16)
    assert one.detail == "2 of 16 filters have one value throughout, other than 0"
    assert state_word(one) == "2 constant"
    assert codes(kernel.reshape(72, 16)) == ["constant-filters"]
    assert codes(np.tile(np.arange(1.0, 17, dtype=np.float32), (3, 3, 8, 1))) == ["constant-filters"]


def test_filters_of_one_value_that_chance_makes_are_not_told() -> None:
    draw = np.random.default_rng(3)
    assert codes(np.full((3, 3, 8, 16), 0.25, np.float32)) == ["constant"]
    pair = normal((2, 64))
    pair[:, 7] = 0.5
    assert "constant-filters" not in codes(pair)
    ternary = draw.integers(-1, 2, (3, 3, 1, 512)).astype(np.float32)
    ternary[..., 3] = 1
    binary = draw.choice([-1.0, 1.0], (3, 3, 1, 512)).astype(np.float32)
    binary[..., 3] = 1
    assert "constant-filters" not in codes(ternary) + codes(binary)
    table = normal((64, 16))
    table[9] = 0.5
    assert "constant-filters" not in codes(table, "embedding")


def test_words_of_symmetry_leave_constant_filters_out() -> None:
    kernel = normal((3, 3, 8, 24))
    kernel[..., 6] = 0.25
    layer = analyse(kernel, "conv/kernel")
    assert layer is not None
    assert (layer.counts["symmetric"], layer.symmetric_varied, layer.flagged_symmetric) == (1, 0, False)
    dense = analyse(kernel.reshape(72, 24)[:, 4:9], "dense/kernel")
    assert dense is not None
    assert (dense.counts["constant"], dense.symmetric_varied) == (1, 0)


def test_the_padding_row_of_an_embedding_is_not_dead() -> None:
    table = normal((40, 16))
    table[0] = 0
    assert codes(table, "embedding") == []
    table[9] = 0
    assert codes(table, "embedding") == ["dead-filters"]


def test_half_precision_needs_a_witness_to_be_possible() -> None:
    kernel = fresh_uniform((3, 3, 8, 16)).astype(ml_dtypes.bfloat16)
    assert found(kernel) == []
    bias = tensor("bias", "conv/bias", count=16)
    (one,) = found(kernel, siblings=[(bias, stats(np.zeros(16)))])
    assert (one.code, one.certainty) == ("at-initializer", "possible")
    assert one.evidence["also"] == "the layer's bias is exactly 0 too"
    assert found(kernel, siblings=[(bias, stats(normal((16,))))]) == []


def test_a_negative_variance_is_an_error() -> None:
    array = np.array([0.5, -1e-3, 2.0])
    (one,) = value_findings("save", tensor("moving-variance"), stats(array))
    assert (one.code, one.severity) == ("statistics-implausible", "error")
    assert one.evidence["min"] == -1e-3
    assert value_findings("save", tensor("moving-mean"), stats(array)) == []
