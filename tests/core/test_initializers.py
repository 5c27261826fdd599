"""Untouched since the initializer: exact where a grid or an angle tells, silent where only a distribution would."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from ckptui.core.families import families_of, fans, from_config
from ckptui.core.grid import UniformGrid, nudge
from ckptui.core.initializers import Verdict, verdict
from ckptui.core.layout import layout_of
from tests import warm_tensorflow
from tests.core.draws import fresh_normal, fresh_uniform, glorot_limit, moved, normal
from tests.places import CORPUS, ROOT, needs_corpus, needs_tensorflow

GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
HE_NORMAL = {"class_name": "HeNormal", "config": {"seed": None}}
Row = tuple[str, str, str, dict[str, Any], NDArray[Any]]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (128, 10), (7, 5), (5, 8, 16), (3, 3, 3, 4, 8)])
def test_a_fresh_uniform_kernel_is_at_its_initializer(shape: tuple[int, ...], fused: bool) -> None:
    said = verdict(fresh_uniform(shape, fused=fused))
    assert (said.verdict, said.match, said.certainty) == ("at-initializer", "glorot_uniform", "confirmed")
    assert said.on_grid == 1.0
    assert said.p_value is not None
    assert said.p_value < 1e-9


@pytest.mark.parametrize("scale", [1e-8, 1e-6, 1e-3, 0.05])
def test_the_smallest_noise_takes_a_kernel_off_the_grid(scale: float) -> None:
    said = verdict(moved(fresh_uniform((3, 3, 16, 32)), scale), config=GLOROT)
    assert said.verdict != "at-initializer"
    assert said.filters is None or not said.filters.any()


def test_a_moved_kernel_is_trained_at_the_share_chance_gives() -> None:
    said = verdict(moved(fresh_uniform((3, 3, 16, 32))), config=GLOROT)
    assert (said.verdict, said.certainty) == ("trained", "confirmed")
    assert said.on_grid is not None
    assert said.chance is not None
    assert abs(said.on_grid - said.chance) < 0.03


def test_chance_hits_are_a_fifth_at_most_and_fall_with_the_weights() -> None:
    limit = glorot_limit((3, 3, 16, 32))
    rates = [UniformGrid(-limit, limit).chance(normal((4096,), scale=limit * s)) for s in (0.6, 0.1, 0.01)]
    assert 0.2 > rates[0] > rates[1] > rates[2]


def test_three_planted_filters_are_found_and_no_other() -> None:
    before = fresh_uniform((3, 3, 16, 32))
    after = moved(before)
    after[..., [2, 7, 11]] = before[..., [2, 7, 11]]
    said = verdict(after)
    assert (said.verdict, said.certainty) == ("partly", "confirmed")
    assert said.filters is not None
    assert list(np.flatnonzero(said.filters)) == [2, 7, 11]
    assert said.rows == ()


def test_inputs_no_gradient_came_through_are_named() -> None:
    before = fresh_uniform((64, 24))
    after = moved(before)
    after[[0, 1, 63]] = before[[0, 1, 63]]
    said = verdict(after)
    assert (said.verdict, said.rows) == ("partly", (0, 1, 63))
    assert said.filters is not None
    assert not said.filters.any()


def test_filters_of_fewer_than_ten_values_are_not_named() -> None:
    before = fresh_uniform((3, 3, 1, 64))
    after = moved(before)
    after[..., :30] = before[..., :30]
    said = verdict(after)
    assert (said.verdict, said.certainty) == ("partly", "likely")
    assert said.filters is not None
    assert not said.filters.any()


def test_a_tensor_of_fewer_than_twenty_values_gets_no_verdict() -> None:
    assert verdict(fresh_uniform((3, 5))).verdict == "undecided"
    assert verdict(moved(fresh_uniform((3, 5)))).verdict == "undecided"


def test_embedding_rows_are_the_filters() -> None:
    before = fresh_uniform((40, 16), 0.05)
    after = moved(before)
    after[[3, 30]] = before[[3, 30]]
    said = verdict(after, "embedding")
    assert (said.verdict, said.match) == ("partly", "random_uniform")
    assert said.filters is not None
    assert list(np.flatnonzero(said.filters)) == [3, 30]


def test_pruned_weights_keep_their_verdict_and_zeros_alone_prove_nothing() -> None:
    kernel = fresh_uniform((64, 32))
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.5] = 0
    assert verdict(kernel).verdict == "at-initializer"
    assert verdict(np.zeros((64, 32), np.float32)).verdict == "undecided"
    trained = moved(fresh_uniform((64, 32)))
    trained[:, :5] = 0
    assert verdict(trained).verdict == "trained"


@pytest.mark.parametrize("levels", [1, 3, 16])
def test_quantised_weights_do_not_pass_for_fresh(levels: int) -> None:
    """A limit that is a power of two puts every short number on the grid."""
    kernel = np.round(normal((48, 48), scale=0.1) * levels * 8) / np.float32(levels * 8)
    assert glorot_limit((48, 48)) == 0.25
    assert verdict(np.asarray(kernel, dtype=np.float32)).verdict in ("undecided", "trained")


def test_a_generator_with_one_bit_more_is_another_framework_and_only_possible() -> None:
    shape = (3, 3, 16, 32)
    limit = np.float32(glorot_limit(shape))
    unit = (np.random.default_rng(0).integers(0, 1 << 24, shape) * 2.0**-24).astype(np.float32)
    said = verdict(np.asarray(unit * (limit - -limit) + -limit, dtype=np.float32))
    assert (said.verdict, said.certainty) == ("at-initializer", "possible")


@pytest.mark.parametrize(
    ("limit", "match", "certainty", "test"),
    [
        (0.08, "random_uniform", "confirmed", "grid"),
        (0.3, "random_uniform", "confirmed", "grid"),
        (math.sqrt(3 / 3 / 288), "variance_scaling", "confirmed", "grid"),
        (0.062617, "random_uniform", "likely", "lattice"),
    ],
)
def test_a_limit_nobody_told_shows_in_the_digits_of_small_values(
    limit: float, match: str, certainty: str, test: str
) -> None:
    """Round limits and common scales are tried, and then every value lies on their grid."""
    kernel = fresh_uniform((3, 3, 16, 32), limit)
    said = verdict(kernel)
    assert (said.verdict, said.match, said.certainty, said.test) == ("at-initializer", match, certainty, test)
    assert verdict(moved(kernel, 1e-7)).verdict != "at-initializer"
    part = moved(kernel)
    part[..., :10] = kernel[..., :10]
    assert verdict(part).verdict != "at-initializer"


def test_half_precision_has_no_grid_and_needs_a_witness() -> None:
    for dtype in (ml_dtypes.bfloat16, np.float16):
        kernel = fresh_uniform((3, 3, 16, 32)).astype(dtype)
        alone = verdict(kernel, config=GLOROT)
        assert (alone.verdict, alone.certainty, alone.test) == ("undecided", "possible", "shape")
        beside = verdict(kernel, config=GLOROT, corroborated=True)
        assert (beside.verdict, beside.certainty) == ("at-initializer", "possible")
        wider = verdict(normal((3, 3, 16, 32), scale=0.3).astype(dtype), config=GLOROT, corroborated=True)
        assert (wider.verdict, wider.test) == ("undecided", "shape")


def test_a_verdict_on_half_precision_is_the_same_with_and_without_a_config() -> None:
    for dtype in (ml_dtypes.bfloat16, np.float16):
        kernel = moved(fresh_uniform((3, 3, 16, 32)), 0.1).astype(dtype)
        told = {verdict(kernel, config=config).verdict for config in (GLOROT, None)}
        assert told == {"undecided"}


def test_what_another_program_drew_is_possible_beside_a_witness_and_trained_without() -> None:
    limit = float(np.abs(fresh_uniform((3, 3, 16, 32))).max())
    kernel = np.random.default_rng(4).uniform(-limit, limit, (3, 3, 16, 32)).astype(np.float32)
    alone = verdict(kernel, config=GLOROT)
    assert (alone.verdict, alone.certainty, alone.test) == ("trained", "confirmed", "grid")
    beside = verdict(kernel, config=GLOROT, corroborated=True)
    assert (beside.verdict, beside.certainty, beside.test) == ("at-initializer", "possible", "shape")
    assert beside.match == "glorot_uniform"
    assert beside.on_grid is not None
    fresh = verdict(fresh_uniform((3, 3, 16, 32)), config=GLOROT, corroborated=True)
    assert (fresh.certainty, fresh.test) == ("confirmed", "grid")


@pytest.mark.parametrize("config", [GLOROT, HE_NORMAL])
def test_a_shape_no_initializer_has_is_trained_and_no_more_than_possible_beside_a_witness(config: Any) -> None:
    kernel = np.random.default_rng(4).laplace(0, 0.3, (3, 3, 16, 32)).astype(np.float32)
    assert verdict(kernel, config=config).verdict == "trained"
    beside = verdict(kernel, config=config, corroborated=True)
    assert (beside.verdict, beside.certainty) == ("trained", "possible")


def test_trained_normals_are_never_confirmed_and_say_what_was_tested() -> None:
    before = fresh_normal((3, 3, 16, 32))
    after = moved(before)
    after[..., ::2] = before[..., ::2]
    said = verdict(after, config=HE_NORMAL)
    assert (said.verdict, said.certainty, said.test) == ("trained", "likely", "pairs")
    assert said.on_grid == pytest.approx(0.2, abs=0.05)


def test_constants_agree_with_an_initializer_but_say_little() -> None:
    zeros = {"class_name": "Zeros", "config": {}}
    assert verdict(np.zeros((4, 4), np.float32), config=zeros).match == "zeros"
    assert verdict(np.zeros((4, 4), np.float32), config=zeros).verdict == "at-initializer"
    assert verdict(np.zeros(8, np.float32), "bias", zeros) == Verdict("undecided", "zeros", "likely", test="value")
    assert verdict(np.ones(8, np.float32), "gamma").match == "ones"
    constant = {"class_name": "Constant", "config": {"value": 0.3}}
    assert verdict(np.full((4, 4), 0.3, np.float32), config=constant).verdict == "at-initializer"
    assert verdict(normal((8,)), "bias", zeros).verdict == "trained"


def test_identity_and_orthogonal_matrices_are_recognised_until_they_move() -> None:
    assert verdict(np.eye(16, dtype=np.float32) * 2).match == "identity"
    square, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(96, 24)))
    tall = square.astype(np.float32)
    for matrix in (tall, tall.T):
        assert verdict(matrix).match == "orthogonal"
        # moved by less than an epsilon it is orthogonal still: alone that proves little
        assert verdict(matrix).certainty == "possible"
        assert verdict(matrix, corroborated=True).certainty == "likely"
        assert verdict(moved(matrix, 1e-4)).verdict == "trained"
        assert verdict(moved(matrix, 1e-6)).verdict == "trained"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class_name": 7, "config": []},
        {"class_name": "GlorotUniform", "config": {"input_axes": [9], "output_axes": "x"}},
        {"class_name": "RandomUniform", "config": {"minval": "a", "maxval": 10**400}},
        {"class_name": "RandomUniform", "config": {"minval": 2.0, "maxval": 1.0}},
        {"class_name": "RandomNormal", "config": {"stddev": -1}},
        {"class_name": "VarianceScaling", "config": {"scale": float("nan"), "mode": 3}},
        {"class_name": "x" * 100_000, "config": None},
    ],
)
def test_odd_configs_never_raise(config: dict[str, Any]) -> None:
    verdict(normal((16, 16)), config=config)
    verdict(fresh_uniform((16, 16)).astype(np.float64), config=config)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e-45])
def test_odd_values_never_raise(value: float) -> None:
    kernel = normal((3, 3, 4, 8))
    kernel[0, 0, 0, 0] = value
    verdict(kernel)
    verdict(np.full((3, 3, 4, 8), value, np.float32))
    with np.errstate(over="ignore"):
        verdict(kernel.astype(np.float16))


def test_tensors_without_a_verdict_are_undecided() -> None:
    for array in (np.zeros((0, 4), np.float32), np.arange(12).reshape(3, 4), np.array([["a"]], object)):
        assert verdict(array).verdict == "undecided"


def test_fans_are_counted_as_keras_counts_them() -> None:
    assert fans((3, 3, 16, 32)) == (144, 288)
    assert fans((3, 3, 16, 1)) == (144, 9)
    assert fans((20, 30)) == (20, 30)
    assert fans((7,)) == (7, 7)
    assert fans(()) == (1, 1)


def test_old_configs_name_the_same_families() -> None:
    old = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"}}
    assert from_config((3, 3, 16, 32), old) == from_config((3, 3, 16, 32), GLOROT)
    (named,) = from_config((3, 3, 16, 32), {"class_name": "he_normal", "config": {}})
    assert (named.match, named.law) == ("he_normal", "truncated")
    assert from_config((4, 4), {"class_name": "MyOwn", "config": {}}) == []
    families, known = families_of((4, 4), "kernel", None)
    assert not known
    assert {"glorot_uniform", "he_normal", "orthogonal"} <= {f.match for f in families}


def test_a_nudge_moves_every_value_a_little() -> None:
    values = normal((1000,))
    apart = np.abs(nudge(values) / values - 1)
    assert apart.min() > 0
    assert apart.max() < 2e-4


@pytest.fixture(scope="module")
def keras_layers(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """What a TensorFlow process draws and trains."""
    target = tmp_path_factory.mktemp("layers") / "layers.npz"
    script = Path(__file__).with_name("fresh_layers.py")
    done = warm_tensorflow.run([script, target], timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    rows: list[Row] = []
    with np.load(target) as arrays:
        for key in arrays.files:
            kind, name, role, config = key.split("|", 3)
            rows.append((kind, name, role, json.loads(config), arrays[key]))
    return rows


def judged(row: Row, known: bool) -> Verdict:
    _, name, role, config, array = row
    return verdict(array, role, config if known else None, layout=layout_of(array, role, name))


@pytest.mark.tensorflow
@needs_tensorflow
@pytest.mark.parametrize("known", [True, False])
def test_every_fresh_keras_layer_is_at_its_initializer(keras_layers: list[Row], known: bool) -> None:
    fresh = [row for row in keras_layers if row[0] == "fresh"]
    assert len(fresh) > 40
    for row in fresh:
        told = known or row[1] in ("lopsided", "scaled")
        said = judged(row, told)
        assert said.verdict == "at-initializer", (row[1], row[4].shape, said)
        assert said.certainty != "possible" or said.test == "orthogonal", (row[1], said)


@pytest.mark.tensorflow
@needs_tensorflow
@pytest.mark.parametrize("known", [True, False])
def test_after_one_step_no_keras_layer_is(keras_layers: list[Row], known: bool) -> None:
    stepped = [row for row in keras_layers if row[0] == "stepped"]
    assert len(stepped) == 40
    for row in stepped:
        said = judged(row, known)
        assert said.verdict != "at-initializer", (row[1], said)
        assert said.filters is None or not said.filters.any()


@pytest.mark.tensorflow
@needs_tensorflow
def test_planted_keras_filters_and_rows_are_found_exactly(keras_layers: list[Row]) -> None:
    found = {row[1]: judged(row, False).filters for row in keras_layers if row[0] == "planted"}
    second, embedding = found["second"], found["embedding"]
    assert second is not None
    assert embedding is not None
    assert list(np.flatnonzero(second)) == [2, 7, 11]
    assert list(np.flatnonzero(embedding)) == [4, 40]


@pytest.mark.tensorflow
@needs_tensorflow
def test_every_kernel_of_a_fresh_mobilenet_is_confirmed(keras_layers: list[Row]) -> None:
    mobile = [row for row in keras_layers if row[0] == "mobile"]
    assert len(mobile) == 52
    for row in mobile:
        said = judged(row, False)
        assert (said.verdict, said.certainty, said.match) == ("at-initializer", "confirmed", "glorot_uniform")


@pytest.mark.tensorflow
@needs_tensorflow
def test_rounding_to_bfloat16_leaves_no_grid(keras_layers: list[Row]) -> None:
    for row in keras_layers:
        if row[0] == "half":
            assert judged(row, True).verdict == "undecided"


@needs_corpus
def test_no_trained_kernel_of_the_corpus_passes_for_fresh() -> None:
    pytest.importorskip("h5py")
    folders = ("face-classification", "mlperf-tiny", "mnist-cnn-keras")
    epochs = sorted((CORPUS / "fer2013-sequence").glob("*.hdf5"))[::4]
    files = [str(path) for folder in folders for path in sorted((CORPUS / folder).iterdir())]
    files = [path for path in files if path.endswith((".hdf5", ".h5", ".keras"))] + [str(path) for path in epochs]
    script = Path(__file__).with_name("corpus_kernels.py")
    done = subprocess.run(
        [sys.executable, str(script), *files],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 150
    wrong = [row for row in rows if row["initializer"]["verdict"] in ("at-initializer", "partly")]
    assert wrong == []
    assert max(row["initializer"]["on_grid"] or 0 for row in rows) < 0.4
    assert [row for row in rows if row["flagged"] or row["counts"]["duplicate"]] == []
