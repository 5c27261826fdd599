"""Images: decoded as Pillow does, in a child that a bomb can't hurt; fitted and scaled for the model."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckptui.errors import NoSuchPath, UsageError
from ckptui.predict.image import (
    Form,
    ImageReader,
    Picture,
    batch_of,
    choose,
    fit,
    form_of,
    preprocess,
    preview_of,
)

PIXELS = np.random.default_rng(5).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reader() -> Iterator[ImageReader]:
    made = ImageReader()
    yield made
    made.close()


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_comes_out_as_pillow_converts_and_resizes_it(
    reader: ImageReader, tmp_path: Path, suffix: str, channels: int
) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(PIXELS).save(path)
    with Image.open(path) as image:
        mode = "L" if channels == 1 else "RGB"
        expected = np.asarray(image.convert(mode).resize((10, 7), Image.Resampling.BILINEAR))
    picture = reader.decode(str(path), (10, 7), channels)
    assert picture.pixels.shape == (7, 10, channels)
    assert np.array_equal(picture.pixels.reshape(expected.shape), expected)
    assert picture.size == (32, 24)
    assert not picture.raw


def test_without_a_size_or_channels_the_image_keeps_its_own(reader: ImageReader, tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(PIXELS).save(tmp_path / "colour.png")
    assert reader.decode(str(tmp_path / "grey.png")).pixels.shape == (24, 32, 1)
    assert reader.decode(str(tmp_path / "colour.png")).pixels.shape == (24, 32, 3)


def test_sixteen_bit_grey_is_scaled_and_not_cut_to_white(reader: ImageReader, tmp_path: Path) -> None:
    deep = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    pixels = reader.decode(str(tmp_path / "deep.png"), None, 1).pixels[..., 0]
    assert np.array_equal(pixels, np.rint(deep / 257).astype(np.uint8))


def test_an_npy_of_floats_is_the_input_itself_one_of_bytes_an_image(reader: ImageReader, tmp_path: Path) -> None:
    floats = np.linspace(-3, 3, 48, dtype=np.float64).reshape(1, 4, 4, 3)
    np.save(tmp_path / "floats.npy", floats)
    np.save(tmp_path / "bytes.npy", PIXELS[..., 0])
    raw = reader.decode(str(tmp_path / "floats.npy"), (4, 4), 3)
    assert raw.raw
    assert not raw.notes
    assert np.array_equal(raw.pixels, floats[0])
    for dtype in ("float64", "float32", "float16", "int32", ">i4", "int64", "uint16"):
        numbers = np.linspace(0, 60000, 48).astype(dtype).reshape(1, 4, 4, 3)
        wide = (numbers * 32767 + 1).astype(dtype) if numbers.dtype.itemsize >= 4 else numbers
        picture = reader.decode(saved(tmp_path, wide), (4, 4), 3)
        for wanted in (wide.dtype.name, "float64"):
            given = batch_of(picture.pixels, form("hwc", size=(4, 4), dtype=wanted))
            assert given.dtype == wanted
            assert np.array_equal(given, wide.astype(wanted)), dtype
    image = reader.decode(str(tmp_path / "bytes.npy"), (32, 24), 1)
    assert not image.raw
    assert np.array_equal(image.pixels[..., 0], PIXELS[..., 0])


def saved(folder: Path, values: Any) -> str:
    np.save(folder / "x.npy", values)
    return str(folder / "x.npy")


@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_sized_as_pillow_does_a_channel_at_a_time(
    reader: ImageReader, tmp_path: Path, channels: int
) -> None:
    values = np.random.default_rng(1).normal(size=(48, 64, channels)).astype(np.float32)
    wanted = form("hwc", channels=channels, size=(32, 40))
    picture = reader.fitted(saved(tmp_path, values), wanted)
    assert picture.raw
    assert picture.pixels.dtype == np.float32
    assert picture.notes == ("resized from 48×64 to 40×32 (height×width), values as they are",)
    for place in range(channels):
        plane = Image.fromarray(values[..., place], mode="F").resize((32, 40), Image.Resampling.BILINEAR)
        assert np.array_equal(picture.pixels[..., place], np.asarray(plane))
    same = reader.fitted(saved(tmp_path, values[None, :40, :32]), wanted)
    assert np.array_equal(same.pixels, values[:40, :32])
    assert same.notes == ()


def test_bytes_and_floats_of_one_image_are_sized_to_the_same_within_rounding(
    reader: ImageReader, tmp_path: Path
) -> None:
    as_bytes = reader.fitted(saved(tmp_path, PIXELS), form("hwc", size=(10, 10)))
    as_floats = reader.fitted(saved(tmp_path, PIXELS.astype(np.float64)), form("hwc", size=(10, 10)))
    apart = np.abs(as_bytes.pixels.astype(np.float32) - as_floats.pixels).max()
    assert apart <= 1.01
    assert as_bytes.notes == ("32×24 resized to 10×10 (width×height), another aspect ratio",)
    print(f"bytes and floats resized: at most {apart:.2f} of 255 apart")


def test_floats_change_between_grey_and_colour_and_say_so(reader: ImageReader, tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(9, 8, 3)).astype(np.float32)
    grey = reader.fitted(saved(tmp_path, values), form("hwc", channels=1, size=(8, 9)))
    expected = values.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.allclose(grey.pixels[..., 0], expected, rtol=1e-6)
    assert grey.notes == ("made grey by 0.299 red, 0.587 green, 0.114 blue",)
    colour = reader.fitted(saved(tmp_path, values[..., 0]), form("hwc", channels=3, size=(8, 9)))
    assert np.array_equal(colour.pixels, np.repeat(values[..., :1], 3, axis=-1))
    assert colour.notes == ("grey repeated in three channels",)


def test_what_is_no_finite_number_is_given_and_said(reader: ImageReader, tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.float32)
    values[0, :2], values[1, 1] = np.nan, -np.inf
    picture = reader.fitted(saved(tmp_path, values), form("hwc", channels=1, size=(8, 8)))
    assert picture.pixels[..., 0].tobytes() == values.tobytes()
    assert picture.notes == ("2 NaN and 1 infinite of 64 values, given as they are",)


def test_layouts_of_arrays_are_told_apart(reader: ImageReader, tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(2, 3, 9, 8)).astype(np.float32)
    first = reader.fitted(saved(tmp_path, values), form("chw", size=(8, 9)))
    assert np.array_equal(first.pixels, np.moveaxis(values[0], 0, -1))
    assert first.notes == ("the first of 2 arrays", "channels moved from first to last")
    flat = form("flat", channels=1, size=(8, 8))
    for row in (np.arange(64.0), np.arange(64.0)[None], np.arange(64.0)[None, :, None]):
        picture = reader.fitted(saved(tmp_path, row), flat)
        assert batch_of(picture.pixels, flat).tolist() == [list(range(64))]
        assert picture.notes == ()
    for wrong in (np.arange(63.0)[None], np.zeros((0, 4)), np.zeros((8, 8, 4)), np.zeros((1, 64, 1))):
        with pytest.raises(UsageError, match=r"x\.npy holds"):
            reader.fitted(saved(tmp_path, wrong), form("hwc", channels=1, size=(8, 8)))


def test_messages_name_a_path_as_it_was_written(
    reader: ImageReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("a.tiff")
    (tmp_path / "sub").mkdir()
    make_bad("empty", tmp_path / "sub" / "e.png")
    make_bad("text", tmp_path / "t.png")
    make_bad("svg", tmp_path / "s.svg")
    expected = {
        "a.tiff": "a.tiff: TIFF is not taken: PNG, JPEG, GIF, BMP, WebP and .npy are",
        "sub/e.png": "sub/e.png is empty",
        "sub": "sub is a folder, no image",
        "./t.png": "./t.png is no image: PNG, JPEG, GIF, BMP, WebP and .npy are taken",
        "s.svg": "s.svg: SVG is not taken: PNG, JPEG, GIF, BMP, WebP and .npy are",
    }
    for path, words in expected.items():
        with pytest.raises(UsageError) as caught:
            reader.decode(path, (8, 8), 1)
        assert caught.value.detail == words


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size its few bytes can't have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def npy_claiming(dtype: str, shape: tuple[int, ...]) -> bytes:
    """An .npy whose header claims values it does not have."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def make_bad(kind: str, path: Path) -> None:
    """One file that is no image, by its name here."""
    whole = png_claiming(32, 32)
    contents = {
        "bomb": png_claiming(20_000, 20_000),
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"not an image at all\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pickle": npy_claiming("|O", (2, 2)),
        "huge npy": npy_claiming("<f4", (99_999_999, 999_999)),
    }
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(contents[kind])


@pytest.mark.parametrize("kind", ["bomb", "truncated", "empty", "text", "svg", "pickle", "huge npy", "fifo", "folder"])
def test_what_is_no_image_is_one_plain_error_and_the_reader_lives(
    reader: ImageReader, tmp_path: Path, kind: str
) -> None:
    bad, good = tmp_path / "bad.png", tmp_path / "good.png"
    make_bad(kind, bad)
    Image.fromarray(PIXELS).save(good)
    with pytest.raises(UsageError, match=r"bad\.png|more than 64,000,000"):
        reader.decode(str(bad), (8, 8), 1)
    assert reader.decode(str(good), (8, 8), 3).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", r"bad\.png is no image: PNG, JPEG, GIF, BMP, WebP and \.npy are taken\."),
        ("empty", r"bad\.png is empty\."),
        ("truncated", r"bad\.png is damaged and can't be decoded: "),
    ],
)
def test_an_undecodable_image_is_told_without_pillows_internals(
    reader: ImageReader, tmp_path: Path, kind: str, words: str
) -> None:
    bad = tmp_path / "bad.png"
    if kind == "truncated":
        Image.fromarray(PIXELS).save(bad)
        os.truncate(bad, bad.stat().st_size // 2)
    else:
        make_bad(kind, bad)
    for attempt in (reader.decode, reader.look):
        with pytest.raises(UsageError, match=words) as caught:
            attempt(str(bad))
        assert "Error" not in str(caught.value)
        assert "<" not in str(caught.value)


def test_a_look_at_a_good_image_sends_no_pixels(reader: ImageReader, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "good.png")
    reader.look(str(tmp_path / "good.png"))
    assert not reader.ask("look", {"path": str(tmp_path / "good.png"), "size": None, "channels": 0}).arrays


def test_a_path_that_is_not_there_is_named(reader: ImageReader) -> None:
    with pytest.raises(NoSuchPath, match=r"/nowhere\.png"):
        reader.decode("/nowhere.png")


def test_the_pixel_cap_holds_in_little_memory(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    with pytest.raises(UsageError, match="20000 x 20000 pixels"):
        reader.decode(str(path), (8, 8), 1)
    status = Path(f"/proc/{reader.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 150_000


def end(shape: Any, dtype: str = "float32", name: str = "image") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape}


@pytest.mark.parametrize(
    ("shape", "size", "channels", "layout"),
    [
        ([None, 16, 16, 1], (16, 16), 1, "hwc"),
        ([None, 24, 32, 3], (32, 24), 3, "hwc"),
        ([1, 224, 224, 3], (224, 224), 3, "hwc"),
        ([None, None, None, 3], None, 3, "hwc"),
        ([None, 3, 24, 32], (32, 24), 3, "chw"),
        ([None, 28, 28], (28, 28), 1, "hw"),
        ([None, 784], (28, 28), 1, "flat"),
        ([None, 3072], (32, 32), 3, "flat"),
        (None, None, 0, "hwc"),
    ],
)
def test_the_models_input_shape_says_how_it_wants_an_image(shape: Any, size: Any, channels: int, layout: str) -> None:
    form = form_of([end(shape)])
    assert (form.size, form.channels, form.layout) == (size, channels, layout)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [end([None, 16, 16, 1]), end([None], name="length")],
        [end([None], "string")],
        [end([None, 10])],
        [end([None, 128, 100], "float32"), end([None, 2])],
        [end([None, 400], "int32")],
        [end([None, 8, 8, 8, 1])],
        [end([None, 50, 3])],
        [end([None, 16, 16, 5])],
        [end([])],
        [end([None])],
    ],
)
def test_a_model_that_takes_no_image_is_told_with_its_inputs(inputs: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="Its inputs: ") as caught:
        form_of(inputs)
    assert "image" in caught.value.title


@pytest.mark.parametrize(
    ("first", "dtype", "how"),
    [
        ([{"class": "InputLayer"}, {"class": "Conv2D"}], "float32", "0..1"),
        ([{"class": "InputLayer"}, {"class": "Rescaling", "scale": [1 / 255]}], "float32", "0..255"),
        ([{"class": "RandomFlip"}, {"class": "Rescaling", "scale": [1 / 127.5]}], "float32", "0..255"),
        ([{"class": "Rescaling", "scale": [2.0]}], "float32", "0..1"),
        ([{"class": "Normalization"}, {"class": "Conv2D"}], "float32", "0..255"),
        ([{"class": "TrueDivide"}], "float32", "0..255"),
        ([{"class": "Conv2D"}, {"class": "Rescaling", "scale": [1 / 255]}], "float32", "0..1"),
        ([], "uint8", "0..255"),
        ([], "float32", "0..1"),
    ],
)
def test_auto_preprocessing_goes_by_what_the_model_does_first(
    first: list[dict[str, Any]], dtype: str, how: str
) -> None:
    assert choose("auto", first, dtype)[0] == how


def test_an_unknown_preprocessing_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"Known: auto, 0\.\.1"):
        choose("imagenet", [], "float32")


def test_each_preprocessing_gives_its_numbers() -> None:
    pixels = np.array([[[0, 127, 255]]], np.uint8)
    assert preprocess(pixels, "0..255").ravel().tolist() == [0, 127, 255]
    assert preprocess(pixels, "0..1").ravel().tolist() == [0, float(np.float32(127) / np.float32(255)), 1]
    assert preprocess(pixels, "-1..1").ravel().tolist() == pytest.approx([-1, -0.00392157, 1])
    assert preprocess(pixels, "caffe").ravel().tolist() == pytest.approx([151.061, 10.221, -123.68], rel=1e-5)
    torch = [-0.485 / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert preprocess(pixels, "torch").ravel().tolist() == pytest.approx(torch, rel=1e-5)
    for how in ("0..1", "0..255", "-1..1", "caffe", "torch"):
        assert preprocess(pixels, how).dtype == np.float32
    with pytest.raises(UsageError, match="needs 3 channels"):
        preprocess(pixels[..., :1], "caffe")


def form(layout: str, dtype: str = "float32", size: tuple[int, int] | None = (3, 2), channels: int = 3) -> Form:
    return Form("x", dtype, (None, 2, 3, channels), size, channels, layout)


def test_the_batch_has_the_layout_and_dtype_of_the_model() -> None:
    values = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    assert np.array_equal(batch_of(values, form("hwc"))[0], values)
    assert np.array_equal(batch_of(values, form("chw"))[0], values.transpose(2, 0, 1))
    assert batch_of(values, form("flat")).tolist() == [list(range(18))]
    assert np.array_equal(batch_of(values[..., :1], form("hw"))[0], values[..., 0])
    signed = batch_of(values * 20, form("hwc", "int8"))
    assert signed.dtype == np.int8
    assert signed.max() == 127


def test_a_raw_array_must_have_the_models_shape() -> None:
    picture = Picture("x.npy", np.zeros((2, 3, 3), np.float32), True, (3, 2))
    fit(picture, form("hwc"))
    with pytest.raises(UsageError, match=r"x\.npy holds 2×3×3"):
        fit(picture, form("hwc", size=(16, 16)))


def test_the_preview_is_rgb_rows_whatever_the_image_was() -> None:
    grey = Picture("g", np.array([[[0], [200]]], np.uint8), False, (2, 1))
    assert preview_of(grey) == (bytes([0, 0, 0, 200, 200, 200]), (2, 1))
    raw = Picture("r", np.array([[[-1.0], [np.nan], [1.0]]], np.float32), True, (3, 1))
    assert preview_of(raw) == (bytes([0, 0, 0, 128, 128, 128, 255, 255, 255]), (3, 1))
