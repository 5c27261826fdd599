"""Arrays as given, under flips and probes: dtypes, shapes, ranges and batches hold for any of them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckptui.predict.answers import Feed, same_bits
from ckptui.predict.encoded import EncodedMaterial
from ckptui.predict.given import GivenMaterial, Part
from ckptui.predict.given_probes import probe
from ckptui.predict.image import Picture
from ckptui.predict.material import FLIPS, PROBES

Array = np.ndarray[Any, Any]

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, max_side=5)
WHOLE = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64])
FLOATS = st.sampled_from([np.float16, np.float32, np.float64])


@settings(max_examples=100, deadline=None)
@given(st.one_of(WHOLE, FLOATS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)), st.sampled_from(PROBES))
def test_a_probe_keeps_dtype_and_shape_and_whole_numbers_their_range(values: Array, name: str) -> None:
    with np.errstate(all="ignore"):
        made = probe(values, name)
    if made is None:
        assert name == "shuffled"
        assert not values.ndim
        return
    assert (made.dtype, made.shape) == (values.dtype, values.shape)
    if values.dtype.kind in "iu":
        assert made.min() >= values.min()
        assert made.max() <= values.max()
    if name == "shuffled":
        assert np.array_equal(np.sort(made, axis=None), np.sort(values, axis=None), equal_nan=values.dtype.kind == "f")
    if name == "the negative" and values.dtype.kind in "iu":
        again = probe(made, name)
        assert again is not None
        assert np.array_equal(again, values)


def test_booleans_complex_numbers_and_bfloat16_have_probes_too() -> None:
    bools = np.array([[True, False, True]])
    assert probe(bools, "zeros").tolist() == [[False] * 3]  # type: ignore[union-attr]
    assert probe(bools, "the negative").tolist() == [[False, True, False]]  # type: ignore[union-attr]
    noise = probe(bools, "noise")
    assert noise is not None
    assert noise.dtype == bool
    assert probe(np.array([1j]), "ones") is None
    wide = probe(np.array([[0.5, -2.0]], ml_dtypes.bfloat16), "noise")
    assert wide is not None
    assert wide.dtype == ml_dtypes.bfloat16


def strings(*items: bytes) -> Array:
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


def given_parts(*parts: tuple[str, Array], free: bool = True) -> GivenMaterial:
    return GivenMaterial("x.npz", [Part(name, values, free) for name, values in parts], "")


PICTURES = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype(np.float32)


def test_only_parts_that_look_like_images_are_flipped() -> None:
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    material = given_parts(("image", PICTURES), ("ids", ids), ("text", strings(b"a", b"b")))
    expected = {
        "flip-left-right": PICTURES[:, :, ::-1],
        "flip-up-down": PICTURES[:, ::-1],
        "rotate-180": PICTURES[:, ::-1, ::-1],
    }
    assert dict(material.mirrored) == dict.fromkeys(FLIPS, False)
    for name, flipped in expected.items():
        feed = material.changed(name)
        assert feed is not None
        parts = dict(feed.parts)
        assert np.array_equal(parts["image"], flipped)
        assert np.array_equal(parts["ids"], ids)
    assert material.preview_size == (9, 8)
    assert len(material.preview) == 9 * 8 * 3
    assert material.range() == ((2, 8, 9, 3), float(PICTURES.min()), float(PICTURES.max()))
    mirrored = given_parts(("image", np.ones((1, 8, 8, 1), np.float32)))
    assert all(mirrored.mirrored.values())
    assert mirrored.changed("flip-left-right") is not None


@pytest.mark.parametrize("shape", [(1, 7, 9, 3), (1, 8, 8, 2), (8, 8, 3), (1, 64), (0, 8, 8, 3)])
def test_other_shapes_have_no_flips(shape: tuple[int, ...]) -> None:
    material = given_parts(("x", np.arange(np.prod(shape), dtype=np.float32).reshape(shape)))
    assert material.mirrored == {}
    assert all(material.changed(name) is None for name in FLIPS)


def test_text_is_left_alone_and_a_probe_that_changes_nothing_is_none() -> None:
    text = given_parts(("text", strings(b"a", b"b")))
    assert all(text.changed(name) is None for name in PROBES)
    same = given_parts(("ids", np.full((1, 4), 7)))
    assert all(same.changed(name) is None for name in PROBES)
    mixed = given_parts(("text", strings(b"a")), ("x", np.array([[1.0, 2.0]])))
    for name in PROBES:
        feed = mixed.changed(name)
        assert feed is not None
        assert dict(feed.parts)["text"].tolist() == [b"a"]
    assert mixed.changed("rotate-90") is None
    assert mixed.range() == ((1, 2), 1.0, 2.0)


def test_a_batch_of_others_begins_with_the_material() -> None:
    a = given_parts(("x", np.array([[1.0, 2.0]])), ("t", strings(b"a")))
    b = given_parts(("x", np.array([[5.0, 6.0]])), ("t", strings(b"b")))
    other = given_parts(("x", np.array([[5.0]])), ("t", strings(b"b")))
    batch = a.among([a, b, other])
    assert batch is not None
    parts = dict(batch.parts)
    assert parts["x"][:2].tolist() == [[1, 2], [5, 6]]
    assert parts["t"].tolist()[:2] == [b"a", b"b"]
    assert 3 <= batch.rows <= 8
    assert len({row.tobytes() for row in parts["x"]}) == batch.rows
    assert given_parts(("x", np.zeros((2, 3)))).among([b]) is None
    assert given_parts(("x", np.array([[1.0, 2.0]])), free=False).among([b]) is None
    assert given_parts(("t", strings(b"a"))).among([]) is None
    assert given_parts(("x", np.array(3.0))).among([]) is None


@settings(max_examples=40, deadline=None)
@given(FLOATS.flatmap(lambda dtype: arrays.arrays(dtype, st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 4)))))
def test_rows_of_a_batch_keep_the_bits_of_the_material(values: Array) -> None:
    material = given_parts(("x", values))
    with np.errstate(all="ignore"):
        batch = material.among([])
    if batch is not None:
        assert same_bits(batch.first[:1], values)
        assert batch.first.dtype == values.dtype


def test_an_encoded_image_is_encoded_once_a_change() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    asked: list[bytes] = []

    def encode(changed: Array) -> bytes:
        asked.append(changed.tobytes())
        return b"png:" + changed.tobytes()

    picture = Picture("x.jpg", pixels, False, (8, 8))
    material = EncodedMaterial(picture, b"the file", [None], encode, "", lambda one: b"<" + one + b">")
    assert material.original().first.tolist() == [b"<the file>"]
    for _ in range(2):
        feed = material.changed("flip-left-right")
        assert isinstance(feed, Feed)
        assert feed.first.tolist() == [b"<png:" + pixels[:, ::-1].tobytes() + b">"]
    assert len(asked) == 1
    assert material.changed("no such change") is None
    fixed = EncodedMaterial(picture, b"f", [3], encode, "")
    assert fixed.original().first.tolist() == [b"f"] * 3
    assert fixed.among([]) is None


def test_noise_of_numbers_as_far_apart_as_float64_allows_is_finite() -> None:
    far = np.array([[np.finfo(np.float64).max, -np.finfo(np.float64).max, 1.0]])
    noise = given_parts(("x", far)).changed("noise")
    assert noise is not None
    assert np.isfinite(noise.first).all()
    assert not np.array_equal(noise.first, far)
