"""What a user names, as what the model gets: images, arrays, requests, mixtures; errors that name the input."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from ckptui.errors import CkptuiError, NoSuchPath, UsageError
from ckptui.predict.encoded import EncodedMaterial
from ckptui.predict.given import GivenMaterial
from ckptui.predict.image import ImageReader
from ckptui.predict.inputs import materials_of, signature_asked
from ckptui.predict.material import ImageMaterial, Material
from ckptui.predict.wish import Wish

PIXELS = np.random.default_rng(6).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reader() -> Iterator[ImageReader]:
    made = ImageReader()
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


def end(name: str, shape: Any, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape}


def facts(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), "first": [{"class": "Conv2D"}], **more}


def made(
    reader: ImageReader, known: dict[str, Any], given: Sequence[str] = (), images: Sequence[str] = (), **wish: Any
) -> list[Any]:
    return list(materials_of(Wish(input=tuple(given), **wish), images, known, reader))


def only(found: list[Any]) -> Material:
    assert len(found) == 1
    if isinstance(found[0], tuple):
        raise found[0][1]
    assert isinstance(found[0], Material)
    return found[0]


def refused(found: list[Any]) -> CkptuiError:
    """The error of the only thing that was asked for."""
    assert len(found) == 1
    assert isinstance(found[0], tuple)
    assert isinstance(found[0][1], CkptuiError)
    return found[0][1]


def saved(folder: Path, name: str, values: Any) -> str:
    np.save(folder / name, np.asarray(values))
    return str(folder / name)


def written(folder: Path, name: str, document: Any) -> str:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return str(folder / name)


ONE = facts(end("x", [None, 3]))
TWO = facts(end("x", [None, 3]), end("ids", [None, 4], "int32"))


def test_several_images_come_in_order_and_one_that_fails_costs_only_itself(
    reader: ImageReader, image: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = made(reader, facts(end("image", [None, 8, 8, 1])), images=[image, str(broken), "/nowhere.png", image])
    assert [type(item) for item in found] == [ImageMaterial, tuple, tuple, ImageMaterial]
    assert [found[1][0], found[2][0]] == [str(broken), "/nowhere.png"]
    assert isinstance(found[2][1], NoSuchPath)
    with Image.open(image) as opened:
        expected = np.asarray(opened.convert("L").resize((8, 8), Image.Resampling.BILINEAR))
    feed = found[0].original()
    assert feed.parts[0][0] is None
    assert np.array_equal(feed.first, expected[None, ..., None].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ([None, 24, 32, 3], "uint8", PIXELS[None]),
        ([None, 3, 24, 32], "float32", PIXELS.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)),
        ([24, 32, 3], "float64", (PIXELS.astype(np.float32) / np.float32(255)).astype(np.float64)),
        ([None, 24, 32, 3], "float16", (PIXELS.astype(np.float32) / np.float32(255)).astype(np.float16)[None]),
        ([None, 24, 32, 3], "bfloat16", (PIXELS.astype(np.float32) / np.float32(255)).astype(ml_dtypes.bfloat16)[None]),
        ([None, 24, 32, 3], "int8", (PIXELS.astype(np.int16) - 128).astype(np.int8)[None]),
        ([2, 24, 32, 3], "int32", np.stack([PIXELS, PIXELS]).astype(np.int32)),
        (None, "uint8", PIXELS[None]),
        ([None, None, None, None], "uint8", PIXELS[None]),
    ],
)
def test_each_kind_of_input_gets_the_image_in_its_own_form(
    reader: ImageReader, image: str, shape: Any, dtype: str, expected: np.ndarray[Any, Any]
) -> None:
    material = only(made(reader, facts(end("image", shape, dtype)), images=[image]))
    values = material.original().first
    assert values.dtype == expected.dtype
    assert np.array_equal(values, expected)
    low, high = float(expected.astype(np.float64).min()), float(expected.astype(np.float64).max())
    assert material.range() == (expected.shape, low, high)
    assert (material.preview, material.preview_size) == (PIXELS.tobytes(), (32, 24))


def test_a_side_left_open_follows_the_proportions_of_the_image(reader: ImageReader, image: str) -> None:
    tall = only(made(reader, facts(end("image", [None, 12, None, 3])), images=[image]))
    wide = only(made(reader, facts(end("image", [None, 1, None, 64])), images=[image]))
    assert tall.original().first.shape == (1, 12, 16, 3)
    assert wide.original().first.shape == (1, 1, 48, 64)


def test_what_decoding_left_out_is_told(reader: ImageReader, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=exif)
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    alpha = np.dstack([PIXELS, np.zeros((24, 32), np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(np.full((24, 32), 200, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(PIXELS).quantize(16).save(tmp_path / "palette.png")
    known = facts(end("image", [None, 24, 32, 3]))
    told = {}
    for path in sorted(tmp_path.iterdir()):
        material = only(made(reader, known, images=[str(path)], preprocess="0..255"))
        told[path.stem] = material.words
        with Image.open(path) as opened:
            if path.stem != "deep":
                assert np.array_equal(material.original().first[0], np.asarray(opened.convert("RGB")))
            else:
                assert np.all(material.original().first == round(200 / 257))
    assert told == {
        "turned": "0..255; EXIF orientation 6 not applied, as TensorFlow's and Keras' loaders do not",
        "moving": "0..255; the first of 2 frames",
        "clear": "0..255; transparency left out",
        "print": "0..255; converted from CMYK",
        "deep": "0..255; 16 bits a pixel scaled to 8",
        "palette": "0..255",
    }


@pytest.mark.parametrize(
    "inputs",
    [
        [end("x", [None, 10])],
        [end("x", [None, 8, 8, 1]), end("y", [None, 2])],
        [end("text", [None], "string")],
        [end("x\x1b[2J", [])],
    ],
)
def test_a_model_that_takes_no_image_names_the_option_that_helps(
    reader: ImageReader, image: str, inputs: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=r"--input (NAME|y)=FILE") as caught:
        made(reader, facts(*inputs), images=[image])
    assert inputs[0]["name"].replace("\x1b", "\\x1b") in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_arrays_fill_the_inputs_they_are_named_for(reader: ImageReader, tmp_path: Path) -> None:
    x = saved(tmp_path, "a=b.npy", np.arange(3.0))
    ids = saved(tmp_path, "ids.npy", np.array([[1, 2, 3, 4]]))
    material = only(made(reader, TWO, [f"ids={ids}", f"x={x}"]))
    assert [(name, v.dtype.name, v.tolist()) for name, v in material.original().parts] == [
        ("x", "float32", [[0, 1, 2]]),
        ("ids", "int32", [[1, 2, 3, 4]]),
    ]
    assert "x: a batch axis was added" in material.words
    assert "x: float64 made float32" in material.words
    assert material.mirrored == {}
    assert material.changed("flip-left-right") is None


def test_an_npz_fills_inputs_by_its_members(reader: ImageReader, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "both.npz", x=np.ones((1, 3)), ids=np.ones((1, 4), np.int64))
    np.savez(tmp_path / "one.npz", whatever=np.full((2, 3), 7.0, ">f4"))
    both = only(made(reader, TWO, [str(tmp_path / "both.npz")])).original()
    assert [name for name, _ in both.parts] == ["x", "ids"]
    assert only(made(reader, ONE, [str(tmp_path / "one.npz")])).original().first.tolist() == [[7, 7, 7]] * 2
    named = only(made(reader, TWO, [f"x={tmp_path / 'both.npz'}", f"ids={tmp_path / 'both.npz'}"])).original()
    assert [name for name, _ in named.parts] == ["x", "ids"]
    assert "holds whatever" in str(refused(made(reader, TWO, [str(tmp_path / "one.npz")])))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((2, 4)), r"holds the shape 2×4, x takes float32 \?×3"),
        (np.zeros((1, 1, 3)), r"holds the shape 1×1×3, x takes float32"),
        (np.zeros((3, 3), complex), "complex numbers"),
        (np.array(["a", "b", "c"]), "holds text, the model takes float32"),
        (np.array([1e300, 0, 0]), "too large for the model's float32"),
    ],
)
def test_what_does_not_fit_is_told_with_what_the_model_takes(
    reader: ImageReader, tmp_path: Path, values: Any, words: str
) -> None:
    error = refused(made(reader, ONE, [saved(tmp_path, "x.npy", values)]))
    assert isinstance(error, UsageError)
    with pytest.raises(UsageError, match=words):
        raise error


@pytest.mark.parametrize(
    ("values", "dtype", "fits"),
    [
        ([1.0, 2.0, 3.0], "int32", True),
        ([1.5, 2.0, 3.0], "int32", False),
        ([np.nan, 2.0, 3.0], "int64", False),
        ([2.0**63, 0, 0], "int64", False),
        ([256, 0, 0], "uint8", False),
        ([255, 0, 0], "uint8", True),
        ([-1, 0, 0], "uint8", False),
        ([0, 1, 1], "bool", True),
        ([0, 2, 1], "bool", False),
        ([True, False, True], "int8", True),
        ([70000.0, 0, 0], "float16", False),
        ([1, 2, 3], "bfloat16", True),
    ],
)
def test_numbers_change_their_dtype_only_where_none_is_lost(
    reader: ImageReader, tmp_path: Path, values: list[Any], dtype: str, fits: bool
) -> None:
    found = made(reader, facts(end("x", [None, 3], dtype)), [saved(tmp_path, "x.npy", values)])
    if fits:
        assert only(found).original().first.astype(np.float64).tolist() == [[float(v) for v in values]]
    else:
        assert f"the model's {dtype}" in str(refused(found)) or f"takes {dtype}" in str(refused(found))


def test_bfloat16_as_numpy_saves_it_keeps_its_bits(reader: ImageReader, tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0, 0.1]], ml_dtypes.bfloat16)
    np.save(tmp_path / "x.npy", values)
    found = only(made(reader, facts(end("x", [None, 3], "bfloat16")), [str(tmp_path / "x.npy")])).original().first
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


def test_names_are_matched_against_the_models_inputs(reader: ImageReader, tmp_path: Path) -> None:
    odd = facts(end("a=b", [None, 3]), end("\x1b[31m", [None, 3]))
    x = saved(tmp_path, "x.npy", np.zeros((1, 3)))
    material = only(made(reader, odd, [f"a=b={x}", f"\\x1b[31m={x}"]))
    assert [name for name, _ in material.original().parts] == ["a=b", "\x1b[31m"]
    with pytest.raises(UsageError, match=r"no input is called y\. Its inputs: x float32 \?×3"):
        made(reader, ONE, [f"y={x}"])
    with pytest.raises(NoSuchPath, match=r"/nowhere\.npy"):
        made(reader, ONE, ["x=/nowhere.npy"])
    assert "given twice" in str(refused(made(reader, TWO, [f"x={x}", f"x={x}"])))


def test_files_for_the_only_input_are_predicted_one_by_one(reader: ImageReader, tmp_path: Path, image: str) -> None:
    files = [saved(tmp_path, f"{n}.npy", np.full((1, 8, 8, 1), n / 10)) for n in range(3)]
    found = made(reader, facts(end("x", [None, 8, 8, 1])), [*files, image], images=[image])
    assert [type(item) for item in found] == [GivenMaterial] * 3 + [ImageMaterial] * 2


def test_an_image_beside_arrays_fills_the_input_they_leave_open(
    reader: ImageReader, tmp_path: Path, image: str
) -> None:
    known = facts(end("picture", [None, 24, 32, 3]), end("age", [None, 1]))
    age = saved(tmp_path, "age.npy", [[40.0]])
    for found in (
        made(reader, known, [f"age={age}"], [image]),
        made(reader, known, [f"age={age}", f"picture={image}"]),
    ):
        material = only(found)
        parts = dict(material.original().parts)
        assert parts["age"].tolist() == [[40]]
        assert np.array_equal(parts["picture"][0], PIXELS.astype(np.float32) / np.float32(255))
        flipped = material.changed("flip-left-right")
        assert flipped is not None
        assert np.array_equal(dict(flipped.parts)["picture"], parts["picture"][:, :, ::-1])
        assert dict(flipped.parts)["age"].tolist() == [[40]]
        assert material.preview == PIXELS.tobytes()
        assert material.range() == ((1, 24, 32, 3), float(parts["picture"].min()), float(parts["picture"].max()))
        names = [name for name, _ in material.preprocessings()]
        assert names == ["0..1", "-1..1", "0..255", "caffe", "torch"]
    with pytest.raises(UsageError, match="it has 2 inputs, picture takes the image") as caught:
        made(reader, known, images=[image])
    assert f"Say --input picture={image} --input age=FILE. Its inputs: picture float32 ?×24×32×3" in caught.value.hint
    with pytest.raises(UsageError, match=r"it has 2 inputs\. Its inputs: a float32") as caught:
        made(reader, facts(end("a", [None, 8, 8, 3]), end("b", [None, 8, 8, 1])), images=[image])
    assert "--input NAME=FILE (an image, " in caught.value.hint
    three = facts(*known["inputs"], end("z", [None, 1]))
    with pytest.raises(UsageError, match="2 inputs are left for one image: picture"):
        made(reader, three, [f"age={age}"], [image])


REQUESTS: list[tuple[Any, Any]] = [
    ({"instances": [[1, 2, 3], [4, 5, 6.5]]}, [[1, 2, 3], [4, 5, 6.5]]),
    ({"instances": [{"x": [1, 2, 3]}]}, [[1, 2, 3]]),
    ({"inputs": [[1, 2, 3]]}, [[1, 2, 3]]),
    ({"inputs": {"x": [[1, 2, 3]]}}, [[1, 2, 3]]),
    ('{"instances": [[NaN, Infinity, 0]]}', [[np.nan, np.inf, 0]]),
    ({"signature_name": "serving_default", "instances": [[0, 0, 0]]}, [[0, 0, 0]]),
]


@pytest.mark.parametrize(("document", "expected"), REQUESTS, ids=range(len(REQUESTS)))
def test_a_serving_request_gives_its_rows(reader: ImageReader, tmp_path: Path, document: Any, expected: Any) -> None:
    known = {**ONE, "signature": "serving_default"}
    material = only(made(reader, known, [written(tmp_path, "request", document)]))
    assert np.array_equal(material.original().first, np.array(expected, np.float32), equal_nan=True)
    assert material.words.startswith("Serving JSON")


def test_single_numbers_go_in_rows_of_one_where_the_model_takes_those(reader: ImageReader, tmp_path: Path) -> None:
    known = facts(end("x", [None, 1]))
    requests: list[Any] = [{"instances": [1.0, 2.0, 5.0]}, {"inputs": [1, 2, 5]}]
    requests.append({"instances": [{"x": 1.0}, {"x": 2.0}, {"x": 5.0}]})
    files = [written(tmp_path, f"{place}.json", document) for place, document in enumerate(requests)]
    for path in (*files, saved(tmp_path, "x.npy", np.array([1, 2, 5], np.float32))):
        found = only(made(reader, known, [path]))
        assert found.original().first.tolist() == [[1], [2], [5]]
        assert "x: a last axis of 1 was added" in found.words


WRONG_REQUESTS: list[tuple[Any, str]] = [
    ({"instances": [[1, 2, 3], [4, 5]]}, "rows of different lengths"),
    ({"instances": [{"x": [1, 2, 3], "y": 1}]}, "instance 0 of .* has y"),
    ({"instances": [{"x": [1, 2, 3]}, {}]}, "instance 1 of .* lacks x"),
    ({"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}, "instance 1 of .* is no object"),
    ({"instances": []}, "no list with something in it"),
    ({"instances": [["a", "b", "c"]]}, "x holds text, the model takes float32"),
    ({"instances": [[1, None, 3]]}, "no number"),
    ({"instances": [[1, 10**400, 3]]}, "no number|too large|different lengths"),
    ({"inputs": [[1, 2, 3]], "instances": [[1, 2, 3]]}, "instances and inputs"),
    ({"data": 1}, "has data. It takes"),
    ([1, 2, 3], "is no request"),
    ({"inputs": {"y": [[1, 2, 3]]}}, "no input is called y"),
    ({"signature_name": "other", "inputs": [[1, 2, 3]]}, "for the signature other, loaded is serving_default"),
    ("{'instances': []}", "is no JSON"),
    ('{"instances": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply|no JSON"),
    ('{"instances": ' + "[" * 500 + "1" + "]" * 500 + "}", "different lengths|no number|nested|holds"),
]


@pytest.mark.parametrize(("document", "words"), WRONG_REQUESTS, ids=range(len(WRONG_REQUESTS)))
def test_a_request_that_does_not_fit_is_told_in_words(
    reader: ImageReader, tmp_path: Path, document: Any, words: str
) -> None:
    known = {**ONE, "signature": "serving_default"}
    with pytest.raises(UsageError, match=words):
        only(made(reader, known, [written(tmp_path, "request.json", document)]))


def test_named_inputs_scalars_and_base64_in_requests(reader: ImageReader, tmp_path: Path) -> None:
    path = written(tmp_path, "r.json", {"instances": [{"x": [1, 2, 3], "ids": [1, 2, 3, 4]}] * 2})
    assert [v.shape for _, v in only(made(reader, TWO, [path])).original().parts] == [(2, 3), (2, 4)]
    scalars = facts(end("x", []), end("y", []))
    for number, document in enumerate([{"inputs": {"x": 3, "y": 4}}, {"instances": [{"x": 3, "y": 4}]}]):
        feed = only(made(reader, scalars, [written(tmp_path, f"s{number}.json", document)])).original()
        assert [(v.shape, float(v)) for _, v in feed.parts] == [((), 3), ((), 4)]
    text = facts(end("text", [None], "string"))
    data = bytes(range(256))
    encoded = {"b64": base64.b64encode(data).decode()}
    for document in ({"instances": ["é", encoded]}, {"inputs": ["é", encoded]}, {"inputs": {"text": ["é", encoded]}}):
        found = only(made(reader, text, [written(tmp_path, "t.json", document)]))
        assert found.original().first.tolist() == ["é".encode(), data]
        assert found.changed("noise") is None
        assert found.range() == ((2,), 0.0, 0.0)
    with pytest.raises(UsageError, match="no base64"):
        only(made(reader, text, [written(tmp_path, "t.json", {"instances": [{"b64": "*"}]})]))
    with pytest.raises(UsageError, match="holds 3"):
        only(made(reader, text, [written(tmp_path, "t.json", {"instances": ["a", 3]})]))


def test_the_signature_a_request_names_is_found_before_the_model_is_loaded(tmp_path: Path) -> None:
    a = written(tmp_path, "a.json", {"signature_name": "classify", "instances": [1]})
    b = written(tmp_path, "b.json", {"signature_name": "regress", "instances": [1]})
    os.mkfifo(tmp_path / "fifo")
    assert signature_asked(Wish(input=(f"x={a}", str(tmp_path / "fifo"), "/nowhere"))) == "classify"
    assert signature_asked(Wish(input=(a,), signature="mine")) == "mine"
    assert signature_asked(Wish()) is None
    with pytest.raises(UsageError, match="classify, regress"):
        signature_asked(Wish(input=(a, b)))


def test_encoded_images_are_the_files_bytes_and_flips_are_lossless(
    reader: ImageReader, tmp_path: Path, image: str
) -> None:
    jpeg = str(tmp_path / "image.jpg")
    Image.fromarray(PIXELS).save(jpeg)
    known = facts(end("data", [None], "string"), encoded={"data": 3})
    material = only(made(reader, known, images=[jpeg]))
    assert isinstance(material, EncodedMaterial)
    assert material.original().first.tolist() == [Path(jpeg).read_bytes()]
    assert material.words == "none, the file's bytes as they are: the graph decodes it"
    with Image.open(jpeg) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert material.range() == ((1,), float(pixels.min()), float(pixels.max()))
    assert material.preview == pixels.tobytes()
    for name, expected in {
        "flip-left-right": pixels[:, ::-1],
        "flip-up-down": pixels[::-1],
        "rotate-180": pixels[::-1, ::-1],
        "zeros": np.zeros_like(pixels),
        "the negative": 255 - pixels,
    }.items():
        feed = material.changed(name)
        assert feed is not None
        with Image.open(io.BytesIO(feed.first[0])) as opened:
            assert opened.format == "PNG"
            assert np.array_equal(np.asarray(opened), expected)
    other = only(made(reader, known, images=[image]))
    batch = material.among([other])
    assert batch is not None
    assert batch.first[:2].tolist() == [Path(jpeg).read_bytes(), Path(image).read_bytes()]
    assert list(material.preprocessings()) == []


@pytest.mark.parametrize(
    ("entry", "more", "shape"),
    [
        (end("image_bytes", [None], "string"), {}, (1,)),
        (end("b64", [None, 1], "string"), {}, (1, 1)),
        (end("x", [], "string"), {"encoded": {"x": 0}}, ()),
        (end("x", [2], "string"), {"encoded": {"x": 1}}, (2,)),
        (end("x", None, "string"), {"encoded": {"x": 1}}, (1,)),
    ],
)
def test_an_encoded_input_has_the_rank_of_the_models(
    reader: ImageReader, image: str, entry: dict[str, Any], more: dict[str, Any], shape: tuple[int, ...]
) -> None:
    data = Path(image).read_bytes()
    for found in (made(reader, facts(entry, **more), images=[image]), made(reader, facts(entry, **more), [image])):
        values = only(found).original().first
        assert values.shape == shape
        assert set(values.reshape(-1).tolist()) == {data}


def test_a_file_of_bytes_for_a_string_input_goes_in_as_it_is(reader: ImageReader, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\x0a\x00\xff any bytes")
    material = only(made(reader, facts(end("text", [None], "string")), [str(tmp_path / "blob")]))
    assert material.original().first.tolist() == [b"\x0a\x00\xff any bytes"]


def npy(descr: str, shape: tuple[int, ...], body: bytes = b"") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def bomb(path: Path, declared: int) -> None:
    """A .npz whose one member says that it unpacks to `declared` bytes, and holds 4 MiB of zeros in four kilobytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(4 << 20))
    size = (4 << 20).to_bytes(4, "little")
    raw = path.read_bytes()
    assert raw.count(size) == 2
    path.write_bytes(raw.replace(size, declared.to_bytes(4, "little")))


def test_hostile_files_are_one_error_each_and_the_reader_lives(reader: ImageReader, tmp_path: Path) -> None:
    make: dict[str, Any] = {
        "objects.npy": npy("|O", (3,), b"\x80\x04N."),
        "huge.npy": npy("<f4", (1 << 40, 1 << 40)),
        "negative.npy": npy("<f4", (-1, 3)),
        "fields.npy": b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': [('a', '<f4')], 'shape': (1,)}".ljust(118),
        "deep.npy": b"\x93NUMPY\x01\x00\xff\x1f" + b"[" * 0x1FFF,
        "cut.npy": npy("<f4", (1, 3), bytes(11)),
        "void.npy": npy("|V9", (3,), bytes(27)),
        "short.npz": b"PK\x03\x04",
        "nan.json": '{"instances": [[NaN, 1, {"a": NaN}]]}',
        "name.json": json.dumps({"instances": [{"\x1b]0;gone\x07": 1}]}),
    }
    for name, content in make.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    bomb(tmp_path / "bomb.npz", 3 << 30)
    bomb(tmp_path / "liar.npz", 200)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    os.mkfifo(tmp_path / "fifo.npy")
    (tmp_path / "folder.npz").mkdir()
    with open(tmp_path / "large.json", "wb") as file:
        file.write(b"{")
        file.truncate(4 << 30)
    said = {}
    for path in sorted(tmp_path.iterdir()):
        error = refused(made(reader, ONE, [f"x={path}"]))
        assert isinstance(error, UsageError)
        assert "\x1b" not in str(error)
        assert "Traceback" not in str(error)
        said[path.name] = error.detail
    assert "a pickle, which is never opened" in said["objects.npy"]
    assert "a pickle, which is never opened" in said["pickled.npz"]
    assert "it declares 3221225472 bytes, at most" in said["bomb.npz"]
    assert "more than the 200 bytes it declares" in said["liar.npz"]
    assert "at most" in said["large.json"]
    assert "no regular file" in said["fifo.npy"]
    assert "12 bytes; 11 are there" in said["cut.npy"]
    status = Path(f"/proc/{reader.pid}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak < 1_200_000
    assert only(made(reader, ONE, [saved(tmp_path, "good.npy", np.zeros((1, 3)))])).original().rows == 1
    print(f"{len(said)} hostile files, the reader's peak {peak >> 10} MiB")


@pytest.mark.parametrize(
    ("shape", "dtype", "values"),
    [
        ([None, 50, 3], "float32", np.linspace(0, 1, 150).reshape(1, 50, 3)),
        ([None, 9], "float32", np.linspace(0, 1, 9)),
        ([None, None], "int32", np.arange(12).reshape(1, 12)),
        ([None, 9, 9, 5], "float32", np.linspace(0, 1, 405).reshape(1, 9, 9, 5)),
    ],
)
def test_an_array_alone_goes_into_an_input_that_takes_no_image(
    reader: ImageReader, image: str, tmp_path: Path, shape: Any, dtype: str, values: Any
) -> None:
    known = facts(end("x", shape, dtype))
    feed = only(made(reader, known, images=[saved(tmp_path, "x.npy", values)])).original()
    assert np.array_equal(feed.first, values.astype(dtype).reshape(feed.first.shape))
    assert feed.first.shape[1:] == tuple(
        b or a for a, b in zip(values.shape[-len(shape) + 1 :], shape[1:], strict=True)
    )
    with pytest.raises(UsageError, match="its input has the shape"):
        made(reader, known, images=[image])


def test_a_model_without_an_input_is_told_as_such(reader: ImageReader, image: str) -> None:
    with pytest.raises(UsageError, match="no input") as caught:
        made(reader, facts(signature="tables"), images=[image])
    assert "--signature" in caught.value.hint
