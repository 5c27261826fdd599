"""Controls: each change does to known pixels what it is called, in the shape and dtype it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckptui.predict.controls import CHANGES, CONTROLS, changed, own_mirror, value_range

DRAW = np.random.default_rng(8)
PICTURES: dict[str, np.ndarray[Any, Any]] = {
    "grey": DRAW.integers(0, 256, (16, 16, 1), dtype=np.uint8),
    "colour, wide": DRAW.integers(0, 256, (9, 21, 3), dtype=np.uint8),
    "raw": DRAW.normal(size=(12, 10, 2)).astype(np.float32),
    "one pixel": np.full((1, 1, 3), 7, np.uint8),
    "a column": DRAW.integers(0, 256, (5, 1, 1), dtype=np.uint8),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", PICTURES)
def test_shape_dtype_and_range_stay_and_every_call_gives_the_same(name: str, kind: str) -> None:
    pixels = PICTURES[kind]
    before = pixels.copy()
    made = changed(pixels, name)
    assert (made.shape, made.dtype) == (pixels.shape, pixels.dtype)
    low, high = value_range(pixels)
    assert made.min() >= np.float32(low)
    assert made.max() <= np.float32(high)
    assert np.array_equal(made, changed(pixels, name))
    assert np.array_equal(pixels, before)


def test_flips_and_turns_are_those_of_numpy() -> None:
    pixels = PICTURES["grey"]
    assert np.array_equal(changed(pixels, "flip-left-right"), np.fliplr(pixels))
    assert np.array_equal(changed(pixels, "flip-up-down"), np.flipud(pixels))
    assert np.array_equal(changed(pixels, "rotate-180"), np.rot90(pixels, 2))
    assert np.array_equal(changed(pixels, "rotate-90"), np.rot90(pixels))


def test_a_shift_moves_every_column_by_one() -> None:
    pixels = PICTURES["colour, wide"]
    made = changed(pixels, "shift-1")
    assert np.array_equal(made[:, 1:], pixels[:, :-1])
    assert np.array_equal(made[:, 0], pixels[:, 0])


@pytest.mark.parametrize(("name", "turn"), [("rotate-15", 15), ("shear", None)])
def test_turns_and_shears_agree_with_pillow_inside(name: str, turn: int | None) -> None:
    side = np.linspace(0, 3, 40)
    smooth = np.rint(127 + 60 * np.sin(side)[:, None] + 60 * np.cos(2 * side)[None, :]).astype(np.uint8)
    image = Image.fromarray(smooth)
    if turn is None:
        shear = (1, -0.2, 0.2 * 20, 0, 1, 0)
        wanted = image.transform((40, 40), Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
    else:
        wanted = image.rotate(turn, Image.Resampling.BILINEAR)
    apart = np.abs(changed(smooth[..., None], name)[..., 0].astype(int) - np.asarray(wanted).astype(int))
    assert apart[8:-8, 8:-8].max() <= 1


def test_a_quarter_turn_of_a_wide_picture_keeps_its_shape_and_its_corners() -> None:
    pixels = PICTURES["colour, wide"]
    made = changed(pixels, "rotate-90")
    assert np.array_equal(made[0, 0], pixels[0, -1])
    assert np.array_equal(made[-1, 0], pixels[0, 0])
    assert np.array_equal(made[-1, -1], pixels[-1, 0])


def test_noise_has_the_size_it_says_and_is_another_for_another_picture() -> None:
    grey = np.full((200, 200, 1), 128, np.uint8)
    moved = changed(grey, "noise").astype(float) - 128
    assert abs(moved.mean()) < 0.3
    assert moved.std() == pytest.approx(0.05 * 255, rel=0.03)
    other = changed(grey + np.uint8(1), "noise").astype(float) - 129
    assert not np.array_equal(moved, other)


def test_brightness_is_a_tenth_of_the_range() -> None:
    ramp = np.arange(0, 240, dtype=np.uint8).reshape(12, 20, 1)
    assert np.array_equal(changed(ramp, "brightness")[:11], np.minimum(ramp[:11].astype(int) + 26, 255))
    raw = ramp.astype(np.float32) / 239
    assert np.allclose(changed(raw, "brightness"), np.minimum(raw + 0.1, 1), atol=1e-6)


def test_what_is_not_finite_in_a_raw_array_does_no_harm() -> None:
    raw: Any = PICTURES["raw"].copy()
    raw[0, 0, 0] = np.nan
    for name in CONTROLS:
        assert np.isfinite(changed(raw, name)).mean() > 0.9


def test_pictures_next_to_their_own_mirror_image() -> None:
    ring = np.zeros((16, 16, 1), np.uint8)
    ring[4:12, 4:12] = 200
    assert own_mirror(ring, "flip-left-right")
    ring[:4] = 90
    assert own_mirror(ring, "flip-left-right")
    assert not own_mirror(ring, "flip-up-down")
    with pytest.raises(KeyError):
        changed(ring, "upside")
