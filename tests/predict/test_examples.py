"""Examples and encoded images: what ckptui writes, TensorFlow reads; through models that parse and decode."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ckptui.errors import UsageError
from ckptui.predict.client import Worker
from ckptui.predict.examples import example
from ckptui.predict.image import ImageReader
from ckptui.predict.inputs import folder_recipe, materials_of
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.material import Material
from ckptui.predict.wish import Wish
from ckptui.readers.wire import fields, signed, varints
from tests import warm_tensorflow
from tests.places import CORPUS, needs_corpus

PIXELS = np.random.default_rng(7).integers(0, 256, (24, 32, 3), dtype=np.uint8)
PIXELS[:, :16] //= 3


def spec(key: str, dtype: str, shape: Any = None, kind: str = "dense", required: bool = True) -> dict[str, Any]:
    return {"key": key, "dtype": dtype, "shape": shape, "kind": kind, "required": required}


SPECS = [
    spec("age", "int64", [1]),
    spec("weights", "float32", [3], required=False),
    spec("name", "string", [], required=False),
    spec("ids", "int64", [None], "sparse", False),
    spec("parts", "float32", [None, 2], required=False),
]
ROWS: list[dict[str, Any]] = [
    {"age": 40},
    {"age": [-(1 << 63)], "weights": [[1.5], [-2], [1e-3]], "name": "é", "ids": list(range(300))},
    {"age": (1 << 63) - 1, "name": b"\x00\xff", "ids": [], "weights": [float("inf"), 0, 3.25]},
    {"age": True, "parts": [[1, 2], [3, 4]], "ids": -1, "name": None},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Messages, images and models, and what TensorFlow made of them in a process of its own."""
    place = tmp_path_factory.mktemp("parsed")
    made = [example(row, SPECS, "a row") for row in ROWS]
    steps = [{**spec("steps", "int64", [2]), "sequence": True}, spec("length", "int64", [])]
    sequence = example({"steps": [[1, 2], [3, 4], [5, 6]], "length": 3}, steps, "a row")
    data = np.frombuffer(b"".join(made), np.uint8)
    lengths = [len(one) for one in made]
    np.savez(place / "asked.npz", data=data, lengths=lengths, sequence=np.frombuffer(sequence, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(place / "turned.jpg", exif=exif, quality=95)
    for ending in ("png", "bmp", "gif"):
        Image.fromarray(PIXELS).save(place / f"image.{ending}")
    Image.fromarray(PIXELS).save(place / "image.jpg", quality=100)
    Image.fromarray(PIXELS).save(place / "image.webp", lossless=True)
    script = Path(__file__).with_name("parsed_by_tensorflow.py")
    warm_tensorflow.run([script, place], check=True)
    return place


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(folder / "told.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def worker(warm: Worker) -> Worker:
    return warm


@pytest.fixture(scope="module")
def reader() -> Iterator[ImageReader]:
    made = ImageReader()
    yield made
    made.close()


def test_tensorflow_reads_every_field_as_it_was_given(told: dict[str, np.ndarray[Any, Any]]) -> None:
    assert all(told[f"same/{number}"] for number in range(len(ROWS)))
    assert told["0/age/int64_list"].tolist() == [40]
    assert set(name for name in told if name.startswith("0/")) == {"0/age/int64_list"}
    assert told["1/age/int64_list"].tolist() == [-(1 << 63)]
    assert told["1/weights/float_list"].tolist() == np.array([1.5, -2, 1e-3], np.float32).tolist()
    assert told["1/name/bytes_list"].tolist() == ["é".encode()]
    assert told["1/ids/int64_list"].tolist() == list(range(300))
    assert told["2/age/int64_list"].tolist() == [(1 << 63) - 1]
    assert told["2/name/bytes_list"].tolist() == [b"\x00\xff"]
    assert told["2/ids/int64_list"].tolist() == []
    assert told["2/weights/float_list"].tolist() == [float("inf"), 0, 3.25]
    assert told["3/age/int64_list"].tolist() == [1]
    assert told["3/parts/float_list"].tolist() == [1, 2, 3, 4]
    assert "3/name/bytes_list" not in told
    assert told["sequence"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert told["context"].tolist() == [3]


def test_orientation_is_left_alone_as_tensorflow_and_keras_leave_it(
    told: dict[str, np.ndarray[Any, Any]], folder: Path, reader: ImageReader
) -> None:
    ours = reader.decode(str(folder / "turned.jpg"))
    assert ours.pixels.shape == told["decoded"].shape == told["loaded"].shape == (24, 32, 3)
    assert np.array_equal(ours.pixels, told["loaded"])
    assert int(np.abs(ours.pixels.astype(int) - told["decoded"].astype(int)).max()) <= 8
    assert np.array_equal(reader.decode(str(folder / "image.png")).pixels, told["png"])


def loaded(worker: Worker, folder: Path, name: str, signature: str | None = None) -> Loaded:
    model = Loaded(worker, Order(str(folder / name), "saved-model", signature))
    model.ensure()
    return model


def materials(model: Loaded, reader: ImageReader, images: Any = (), given: Any = ()) -> list[Material]:
    found = list(materials_of(Wish(input=tuple(given)), images, model.facts, reader))
    for one in found:
        if isinstance(one, tuple):
            raise one[1]
    return [one for one in found if isinstance(one, Material)]


def test_requests_become_examples_by_the_graphs_own_spec(
    folder: Path, worker: Worker, reader: ImageReader, tmp_path: Path
) -> None:
    model = loaded(worker, folder, "examples")
    assert {one["key"] for one in model.facts["parsing"]["examples"]} == {"age", "weights", "name", "ids"}
    rows = [{"age": 40}, {"age": [2], "weights": [1, 2, 3.5], "ids": [10, 20], "name": "x"}]
    documents: list[dict[str, Any]] = [
        {"instances": rows},
        {"inputs": {"age": [40, 2], "weights": [[1, 1, 1], [1, 2, 3.5]], "ids": [[], [10, 20]]}},
        {"signature_name": "serving_default", "examples": rows, "context": {"name": "all"}},
    ]
    for number, document in enumerate(documents):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document))
        (material,) = materials(model, reader, given=[str(path)])
        (answer,), _ = model.call(material.original())
        assert answer.main.tolist() == [43, 38.5]
    np.savez(tmp_path / "fields.npz", age=np.array([40, 2]), weights=np.array([[1, 1, 1], [1, 2, 3.5]]))
    (material,) = materials(model, reader, given=[f"examples={tmp_path / 'fields.npz'}"])
    (answer,), _ = model.call(material.original())
    assert answer.main.tolist() == [43, 8.5]
    (tmp_path / "one.pb").write_bytes(example({"age": 5}, SPECS, "a row"))
    (material,) = materials(model, reader, given=[str(tmp_path / "one.pb")])
    (answer,), _ = model.call(material.original())
    assert answer.main.tolist() == [8]
    (tmp_path / "wrong.json").write_text(json.dumps({"instances": [{"age": 1}, {"agee": 1, "weights": [1]}]}))
    with pytest.raises(UsageError) as caught:
        materials(model, reader, given=[str(tmp_path / "wrong.json")])
    assert "agee is no field the graph parses" in caught.value.detail
    assert "age int64 1 is missing" in caught.value.detail
    assert "weights has 1 value, not 3; the graph wants weights float32 3, may be left out" in caught.value.detail
    with pytest.raises(UsageError, match="parses Examples with"):
        materials(model, reader, images=[str(folder / "image.png")])


def test_requests_become_sequence_examples_too(
    folder: Path, worker: Worker, reader: ImageReader, tmp_path: Path
) -> None:
    model = loaded(worker, folder, "sequences")
    specs = {one["key"]: one for one in model.facts["parsing"]["sequences"]}
    assert {key: (one["kind"], one["required"], "sequence" in one) for key, one in specs.items()} == {
        "length": ("dense", True, False),
        "tags": ("sparse", False, False),
        "steps": ("dense", True, True),
        "more": ("ragged", False, True),
    }
    rows = [{"length": 3, "steps": [[1, 2], [3, 4]]}, {"length": 0, "steps": [], "tags": ["a"], "more": [[1], [2, 3]]}]
    path = tmp_path / "sequences.json"
    path.write_text(json.dumps({"instances": rows}))
    (material,) = materials(model, reader, given=[str(path)])
    (answer,), _ = model.call(material.original())
    assert answer.main.tolist() == [13, 0]
    path.write_text(json.dumps({"instances": [{"length": 1, "steps": [[1, 2], [3]]}]}))
    with pytest.raises(UsageError, match=r"steps has 1 value, not 2"):
        materials(model, reader, given=[str(path)])


@needs_corpus
@pytest.mark.parametrize(
    ("name", "signature", "document", "expected"),
    [
        ("tf-predictor-export", None, {"inputs": {"x": 3, "y": 4}}, 7),
        ("tf-predictor-export", "product", {"instances": [{"x": 3, "y": 4}]}, 12),
        ("serving/saved_model_half_plus_two_cpu/00000123", None, {"instances": [[1.0], [2]]}, [[2.5], [3]]),
        (
            "serving/saved_model_half_plus_two_cpu/00000123",
            "regress_x_to_y",
            {"examples": [{"x": 1.0}, {"x": 5}]},
            [[2.5], [4.5]],
        ),
        ("serving/saved_model_half_plus_two_tf2_cpu/00000123", None, {"instances": [1.0]}, [2.5]),
        ("serving/matrix_half_plus_two/1", None, {"inputs": {"x": [[[2] * 3] * 3]}}, [[[3.0] * 3] * 3]),
    ],
)
def test_real_exports_answer_requests(
    worker: Worker, reader: ImageReader, tmp_path: Path, name: str, signature: str | None, document: Any, expected: Any
) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(document))
    model = Loaded(worker, Order(str(CORPUS / name), "saved-model", signature))
    model.ensure()
    (material,) = materials(model, reader, given=[str(path)])
    (answer,), _ = model.call(material.original())
    assert answer.main.tolist() == expected


def test_encoded_images_flip_as_their_pixels_do(folder: Path, worker: Worker, reader: ImageReader) -> None:
    model = loaded(worker, folder, "pictures")
    assert (model.facts["encoded"], model.facts["decoders"]) == ({"data": 3}, {"data": ["DecodeImage"]})
    assert model.facts["base64"] == []
    (material,) = materials(model, reader, images=[str(folder / "image.png")])

    def lean(feed: Any) -> float:
        (answer,), _ = model.call(feed)
        return float(answer.main[0])

    expected = float(PIXELS[:, :16].mean() - PIXELS[:, 16:].mean())
    assert lean(material.original()) == pytest.approx(expected, abs=1e-3)
    assert lean(material.changed("flip-left-right")) == pytest.approx(-expected, abs=1e-3)
    assert lean(material.changed("flip-up-down")) == pytest.approx(expected, abs=1e-3)
    assert lean(material.changed("zeros")) == 0
    batch = material.among([])
    assert batch is not None
    (answer,), _ = model.call(batch)
    assert answer.main.shape == (4,)
    assert answer.main[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("signature", "ending", "words", "near"),
    [
        ("base64", "png", "none, the file's bytes as base64: the graph decodes it", 1e-3),
        ("base64", "gif", "none, the file's bytes as base64: the graph decodes it", 5),
        ("field", "jpg", "none, the file's bytes as base64, in an Example as image", 5),
        ("bmp", "bmp", "none, the file's bytes as they are: the graph decodes it", 1e-3),
        ("crop", "jpg", "none, the file's bytes as they are: the graph decodes it", 5),
    ],
)
def test_each_decoder_gets_the_image_and_its_flip_as_it_takes_them(
    folder: Path, worker: Worker, reader: ImageReader, signature: str, ending: str, words: str, near: float
) -> None:
    model = loaded(worker, folder, "pictures", signature)
    path = str(folder / f"image.{ending}")
    (material,) = materials(model, reader, images=[path])
    recipe = folder_recipe(Wish(), model.facts, reader)
    flipped = material.changed("flip-left-right")
    assert flipped is not None
    feeds = [material.original(), flipped, recipe.feed([reader.decode(path)])]
    leans = [float(model.call(feed)[0][0].main[0]) for feed in feeds]
    expected = float(PIXELS[:, :16].mean() - PIXELS[:, 16:].mean())
    assert leans == pytest.approx([expected, -expected, expected], abs=near)
    assert leans[0] == pytest.approx(-leans[1], abs=min(near, 0.5))
    assert material.words == words


def test_base64_in_a_request_is_read_as_the_image_that_it_is(
    folder: Path, worker: Worker, reader: ImageReader, tmp_path: Path
) -> None:
    data = base64.urlsafe_b64encode((folder / "image.png").read_bytes()).decode().rstrip("=")
    expected = float(PIXELS[:, :16].mean() - PIXELS[:, 16:].mean())
    for signature, row in (("base64", data), ("field", {"image": data})):
        model = loaded(worker, folder, "pictures", signature)
        request = tmp_path / "request.json"
        request.write_text(json.dumps({"instances": [row]}))
        (material,) = materials(model, reader, given=[str(request)])
        flipped = material.changed("flip-left-right")
        assert flipped is not None
        leans = [float(model.call(feed)[0][0].main[0]) for feed in (material.original(), flipped)]
        assert leans == pytest.approx([expected, -expected], abs=1e-3)


@pytest.mark.parametrize(
    ("signature", "ending", "words"),
    [
        ("bmp", "png", r"image.png is PNG, and the model decodes BMP \(DecodeBmp\)"),
        ("crop", "png", r"image.png is PNG, and the model decodes JPEG \(DecodeAndCropJpeg\)"),
        ("base64", "bmp", r"image.bmp is BMP, and the model decodes GIF, JPEG, PNG \(DecodeJpeg\)"),
        ("field", "webp", r"image.webp is WebP, and the model decodes GIF, JPEG, PNG \(DecodePng\)"),
        (None, "webp", r"image.webp is WebP, and the model decodes BMP, GIF, JPEG, PNG \(DecodeImage\)"),
    ],
)
def test_a_format_the_graph_does_not_decode_is_told_before_the_call(
    folder: Path, worker: Worker, reader: ImageReader, signature: str | None, ending: str, words: str
) -> None:
    model = loaded(worker, folder, "pictures", signature)
    # newer TensorFlow reads WebP in all of them
    old = SimpleNamespace(facts={**model.facts, "webp": False})
    with pytest.raises(UsageError, match=words) as caught:
        materials(cast(Loaded, old), reader, images=[str(folder / f"image.{ending}")])
    assert caught.value.hint.startswith("Convert it to ")
    if ending == "webp" and model.facts["webp"] and signature is None:
        (material,) = materials(model, reader, images=[str(folder / "image.webp")])
        expected = float(PIXELS[:, :16].mean() - PIXELS[:, 16:].mean())
        assert float(model.call(material.original())[0][0].main[0]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "age int64 1 is missing"),
        ({"age": "4"}, "age holds text '4'"),
        ({"age": 1.5}, "age holds 1.5"),
        ({"age": float("nan")}, "age holds nan"),
        ({"age": 1 << 63}, "age holds 9223372036854775808"),
        ({"age": 1 << 5000}, "age holds a number too large"),
        ({"age": [1, 2]}, r"age has 2 values, not 1"),
        ({"age": 1, "weights": [1, 2, 1e39]}, r"weights holds 1e\+39"),
        ({"age": 1, "name": 5}, "name holds 5"),
        ({"age": 1, "parts": [1, 2, 3]}, r"parts has 3 values, no multiple of 2"),
        ({"age": 1, "ids": [None]}, "ids holds null"),
        ({"age": 1, "\x1b[2J": 1}, "is no field the graph parses"),
        ({"age": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}, "nested more than 16 levels"),
    ],
)
def test_a_field_that_does_not_fit_is_told_with_what_the_graph_wants(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        example(row, SPECS, "instance 3")
    assert caught.value.detail.startswith("instance 3: ")
    assert "age int64 1" in caught.value.hint


def test_a_spec_of_another_kind_is_said_to_be_unsupported() -> None:
    with pytest.raises(UsageError, match="not supported"):
        example({"x": 1}, [spec("x", "float64")], "a row")
    with pytest.raises(UsageError, match="not supported"):
        example({"x": 1}, [spec("x", "int64", kind="columns")], "a row")


values = st.one_of(
    st.tuples(st.just("int64"), st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=20)),
    st.tuples(st.just("float32"), st.lists(st.floats(width=32, allow_nan=False), max_size=20)),
    st.tuples(st.just("string"), st.lists(st.binary(max_size=200), max_size=5)),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=10), values, max_size=6))
def test_any_fields_come_back_from_the_bytes(rows: dict[str, tuple[str, list[Any]]]) -> None:
    specs = [spec(key, dtype, [None], "sparse", False) for key, (dtype, _) in rows.items()]
    message = example({key: held for key, (_, held) in rows.items()}, specs, "a row")
    found: dict[str, tuple[str, list[Any]]] = {}
    for _, _, features in fields(message):
        for _, _, entry in fields(bytes(features)):
            parts = {number: bytes(value) for number, _, value in fields(bytes(entry))}
            ((kind, _, body),) = fields(parts[2])
            items = [value for _, _, value in fields(bytes(body))]
            key = parts[1].decode("utf-8", "surrogatepass")
            if kind == 1:
                found[key] = ("string", [bytes(item) for item in items])
            elif kind == 2:
                found[key] = ("float32", np.frombuffer(bytes(items[0]), "<f4").tolist())
            else:
                found[key] = ("int64", [signed(number) for number in varints(items[0])])
    assert found == rows
