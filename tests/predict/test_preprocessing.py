"""Which preprocessing a model asks for, every kind against float64, and all of them for one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckptui.errors import UsageError
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.image import Form, Picture, batch_of, form_of
from ckptui.predict.material import ImageMaterial
from ckptui.predict.preprocessing import CAFFE_MEAN, TORCH_MEAN, TORCH_STD, choose, preprocess
from ckptui.predict.recipe import Recipe, recipe_of, variant, variants_of
from ckptui.predict.wish import Wish

INPUT = {"class": "InputLayer"}
CONV = {"class": "Conv2D"}


def rescaling(scale: Any, offset: Any = (0.0,)) -> dict[str, Any]:
    return {"class": "Rescaling", "scale": scale, "offset": offset}


def normalization(mean: list[float], variance: list[float], **more: Any) -> dict[str, Any]:
    return {"class": "Normalization", "mean": mean, "variance": variance, "unadapted": False, **more}


def moments(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A Normalization adapted to these pixels."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return normalization(flat.mean(0).tolist(), flat.var(0).tolist())


UNADAPTED = normalization([0.0] * 3, [1.0] * 3, unadapted=True)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ([rescaling([1 / 255])], "0..255, the model rescales (× 0.00392)"),
        ([INPUT, rescaling([1 / 127.5], [-1.0])], "0..255, the model rescales (× 0.00784 - 1)"),
        ([rescaling([1.0], [-127.5])], "0..255, the model rescales (× 1 - 127.5)"),
        ([rescaling([2.0], [-1.0])], "0..1, the model rescales (× 2 - 1)"),
        ([rescaling([255.0]), rescaling([1 / 255])], "0..1, the model rescales (× 255)"),
        ([rescaling([1.0]), rescaling([1 / 255])], "0..255, the model rescales (× 0.00392)"),
        ([rescaling(1 / 255), CONV], "0..255, the model rescales (× 0.00392)"),
        ([CONV, rescaling([1 / 255])], "0..1, the model itself does not scale"),
        (
            [normalization([120.0, 110.0, 100.0], [4000.0, 4100.0, 4200.0])],
            "0..255, the model normalises (mean [120, 110, 100], std [63.2, 64, 64.8])",
        ),
        ([normalization([0.45], [0.08])], "0..1, the model normalises (mean 0.45, std 0.283)"),
        ([normalization([-0.1], [0.3])], "-1..1, the model normalises (mean -0.1, std 0.548)"),
        ([normalization([500.0], [9.0])], "0..255, the model normalises (mean 500, std 3), which fits no usual range"),
        (
            [UNADAPTED, CONV],
            "0..1, the model itself does not scale; Normalization in the model was never adapted: it does not scale",
        ),
        (
            [UNADAPTED, rescaling([1 / 255])],
            "0..255, the model rescales (× 0.00392); Normalization in the model was never adapted: it does not scale",
        ),
        ([normalization([120.0], [4000.0], invert=True)], "0..1, the model itself does not scale"),
        ([{"class": "BatchNormalization", "mean": [0.0], "variance": [1.0]}], "0..1, the model itself does not scale"),
        ([{"class": "BatchNormalization"}, CONV], "0..1, the model itself does not scale"),
        ([{"class": "TrueDivide", "op": "divide", "constant": [255.0]}], "0..255, the model scales by itself (÷ 255)"),
        (
            [{"class": "Subtract", "op": "subtract", "constant": list(CAFFE_MEAN)}],
            "0..255, the model scales by itself (- [104, 117, 124])",
        ),
        (
            [
                {"class": "GetItem", "reverses": False},
                {"class": "Stack"},
                {"class": "Add", "op": "add", "constant": [-value for value in CAFFE_MEAN]},
            ],
            "0..255, the model scales by itself (+ [-104, -117, -124])",
        ),
        (
            [
                {"class": "SlicingOpLambda", "reverses": False},
                {"class": "TFOpLambda", "op": "add", "constant": [-99.0]},
            ],
            "0..255, the model scales by itself (+ -99)",
        ),
        (
            [{"class": "TFOpLambda", "op": "subtract", "constant": [0.5]}],
            "0..1, the model scales by itself (- 0.5)",
        ),
        (
            [{"class": "Subtract", "op": "subtract", "constant": [255.0], "reversed": True}],
            "0..255, the model scales by itself (255 - values)",
        ),
        (
            [{"class": "GetItem", "reverses": True}, {"class": "Add", "op": "add", "constant": [-103.9]}],
            "0..255, the model scales by itself (+ -104); the model turns an axis of its input round",
        ),
        (
            [
                {"class": "TFOpLambda", "function": "rgb_to_grayscale"},
                {"class": "TFOpLambda", "function": "resize"},
                {"class": "TFOpLambda", "function": "truediv", "op": "divide", "constant": [255.0]},
            ],
            "0..255, the model scales by itself (÷ 255)",
        ),
        ([{"class": "TFOpLambda", "function": "truediv"}], "0..255, the model scales by itself"),
        *(
            ([{"class": "TFOpLambda", "function": name}, CONV], "0..1, the model itself does not scale")
            for name in ("relu", "resize", "rgb_to_grayscale", "transpose", "sqrt")
        ),
        ([{"class": "Add"}, rescaling([1 / 255])], "0..1, the model itself does not scale"),
        ([], "0..1, nothing in the model tells; --all-preprocessing shows whether it matters"),
    ],
)
def test_auto_says_what_the_model_does_first(first: Sequence[dict[str, Any]], words: str) -> None:
    how, said = choose("auto", first, "float32")
    assert said == words
    assert said.startswith(how)


@settings(max_examples=80, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9), st.sampled_from([1, 3]))))
def test_a_normalization_is_traced_to_the_range_it_was_adapted_to(pixels: np.ndarray[Any, Any]) -> None:
    pixels[0, 0], pixels[-1, -1] = 0, 255
    for how in ("0..1", "0..255"):
        found, _ = choose("auto", [moments(preprocess(pixels, how))], "float32")
        assert found == how


@settings(max_examples=80, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))),
    st.floats(-300, 300),
    st.floats(0.01, 300),
)
def test_every_kind_is_its_formula(pixels: np.ndarray[Any, Any], mean: float, std: float) -> None:
    exact = pixels.astype(np.float64)
    expected = {
        "0..255": exact,
        "0..1": exact / 255,
        "-1..1": exact / 127.5 - 1,
        "mean/std": (exact - mean) / std,
        "-128..127": exact - 128,
    }
    if pixels.shape[-1] == 3:
        expected["caffe"] = exact[..., ::-1] - np.array(CAFFE_MEAN)
        expected["torch"] = (exact / 255 - np.array(TORCH_MEAN)) / np.array(TORCH_STD)
    for how, values in expected.items():
        found = preprocess(pixels, how, (mean,), (std,))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-4)


def test_mean_and_std_may_be_one_or_one_a_channel() -> None:
    pixels = np.full((2, 2, 3), 100, np.uint8)
    assert preprocess(pixels, "mean/std", (10, 20, 30), (2,))[0, 0].tolist() == [45, 40, 35]
    assert preprocess(pixels, "mean/std", (), (50,))[0, 0].tolist() == [2, 2, 2]
    assert preprocess(pixels, "mean/std", (50,))[0, 0].tolist() == [50, 50, 50]
    assert choose("auto", [rescaling([1 / 255])], "float32", mean=(127.5,), std=(127.5,)) == (
        "mean/std",
        "mean 127.5, std 127.5, of pixels 0..255",
    )
    with pytest.raises(UsageError, match="2 numbers are given for mean, the model takes 3"):
        preprocess(pixels, "mean/std", (1, 2))
    for mean, std, words in [((), (0.0,), "std of 0"), ((float("nan"),), (), "mean is no finite number")]:
        with pytest.raises(UsageError, match=words):
            choose("auto", [], "float32", mean=mean, std=std)
    with pytest.raises(UsageError, match="mean and std are given, and caffe too"):
        choose("caffe", [], "float32", mean=(1,))
    with pytest.raises(UsageError, match="neither is given"):
        choose("mean/std", [], "float32")


def recipe(shape: Any, dtype: str = "float32", wish: Wish | None = None, **facts: Any) -> Recipe:
    form = form_of([{"name": "x", "dtype": dtype, "shape": shape}])
    return recipe_of(wish or Wish(), {"first": [CONV], **facts}, form)


def picture(channels: int = 3) -> Picture:
    pixels = np.random.default_rng(3).integers(0, 256, (8, 9, channels), dtype=np.uint8)
    return Picture("x.png", pixels, False, (9, 8))


def test_a_recipe_is_refused_before_any_image_where_it_can_not_fit() -> None:
    with pytest.raises(UsageError, match="caffe preprocessing needs 3 channels, the model takes 1"):
        recipe([None, 8, 9, 1], wish=Wish(preprocess="caffe"))
    with pytest.raises(UsageError, match="3 numbers are given for std"):
        recipe([None, 8, 9, 1], wish=Wish(std=(1, 2, 3)))


def test_a_fixed_batch_is_filled_up_and_told() -> None:
    made = recipe([4, 8, 9, 3])
    assert "batches of 4" in made.words
    assert made.feed([picture()]).first.shape == (4, 8, 9, 3)
    among = ImageMaterial(picture(), made).among([])
    assert among is not None
    assert among.first.shape == (4, 8, 9, 3)
    assert len({row.tobytes() for row in among.first}) == 4
    assert "28×28 pixels in a row" in recipe([None, 784]).words


def test_all_preprocessings_with_what_can_not_be_said_so() -> None:
    colour = dict(variants_of(ImageMaterial(picture(), recipe([None, 8, 9, 3]))))
    assert list(colour) == ["0..1", "-1..1", "0..255", "caffe", "torch"]
    for name, feed in colour.items():
        assert isinstance(feed, Feed)
        assert np.array_equal(feed.first[0], preprocess(picture().pixels, name))
    grey = dict(variants_of(ImageMaterial(picture(1), recipe([None, 8, 9, 1]))))
    assert grey["torch"] == "needs 3 channels, the model takes 1"
    whole = dict(variants_of(ImageMaterial(picture(), recipe([None, 8, 9, 3], "int8"))))
    assert [name for name, made in whole.items() if isinstance(made, Feed)] == ["-128..127"]
    own = dict(variants_of(ImageMaterial(picture(), recipe([None, 8, 9, 3], wish=Wish(mean=(5.0,))))))
    assert list(own)[-1] == "mean/std"
    raw = Picture("x.npy", np.zeros((8, 9, 3), np.float32), True, (9, 8))
    assert list(variants_of(ImageMaterial(raw, recipe([None, 8, 9, 3])))) == []


def test_a_variant_says_its_range_and_how_far_the_answer_moves() -> None:
    original = Answer.of([("y", np.array([[0.1, 0.9]], np.float32))])
    moved = Answer.of([("y", np.array([[0.8, 0.2]], np.float32))])
    feed = Feed.of(np.array([[-1.5, np.nan, 2.0]], np.float32))
    row = variant("torch", feed, original, moved, ((0, "a", 0.8),))
    assert (row.preprocess, row.low, row.high, row.top1_changed) == ("torch", -1.5, 2.0, True)
    assert row.max_abs_diff == pytest.approx(0.7)
    assert variant("0..1", feed, original, original, chosen=True).top1_changed is False
    assert variant("caffe", "needs 3 channels", original, "").error == "needs 3 channels"
    assert variant("torch", feed, original, "the model refuses it").error == "the model refuses it"


def forms() -> st.SearchStrategy[tuple[Form, int, int, int]]:
    """A form with the height, width and channels of an image for it."""

    def build(height: int, width: int, channels: int, layout: str, dtype: str) -> tuple[Form, int, int, int]:
        channels = 1 if layout == "hw" else channels
        shapes = {
            "hwc": (None, height, width, channels),
            "chw": (None, channels, height, width),
            "hw": (None, height, width),
        }
        return Form("x", dtype, shapes[layout], (width, height), channels, layout), height, width, channels

    return st.builds(
        build,
        st.integers(2, 20),
        st.integers(2, 20),
        st.sampled_from([1, 3]),
        st.sampled_from(["hwc", "chw", "hw"]),
        st.sampled_from(["float32", "float16", "bfloat16", "uint8", "int8", "int64"]),
    )


@settings(max_examples=60, deadline=None)
@given(forms(), st.integers(0, 1 << 30))
def test_a_batch_has_the_models_shape_whatever_its_layout(made: tuple[Form, int, int, int], seed: int) -> None:
    form, height, width, channels = made
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    how = "-128..127" if form.dtype == "int8" else "0..255"
    batch = batch_of(preprocess(pixels, how), form)
    assert form.shape is not None
    assert batch.shape == (1, *form.shape[1:])
    assert batch.dtype.name == form.dtype
    back = batch[0].astype(np.float64) + (128 if form.dtype == "int8" else 0)
    back = {"chw": lambda: back.transpose(1, 2, 0), "hw": lambda: back[..., None]}.get(form.layout, lambda: back)()
    assert np.array_equal(back, pixels)
