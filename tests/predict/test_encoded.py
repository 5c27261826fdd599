"""Images and numbers inside strings: base64 in requests, features of Examples, folders for models that decode."""

from __future__ import annotations

import base64
import io
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

from ckptui.core.model import ManyImages
from ckptui.errors import UsageError
from ckptui.predict import probes
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.built_examples import features_of, message_of
from ckptui.predict.client import Worker
from ckptui.predict.examples import example
from ckptui.predict.image import Form, ImageReader
from ckptui.predict.inputs import folder_recipe, materials_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.many import Prepares, many_images
from ckptui.predict.material import FLIPS, PROBES, Material
from ckptui.predict.recipe import Recipe
from ckptui.predict.subject import Subject
from ckptui.predict.wish import Wish
from tests.places import CORPUS, needs_corpus

Array = np.ndarray[Any, Any]
PIXELS = np.random.default_rng(6).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def spec(key: str, dtype: str, *, required: bool = True) -> dict[str, Any]:
    return {"key": key, "dtype": dtype, "shape": [], "kind": "dense", "required": required}


DATA = {"inputs": [{"name": "data", "dtype": "string", "shape": [None]}], "encoded": {"data": 3}}
SPECS = [spec("image/encoded", "string"), spec("age", "float32", required=False), spec("kind", "int64", required=False)]
EXAMPLES = {"inputs": [{"name": "e", "dtype": "string", "shape": [None]}], "parsing": {"e": SPECS}}


@pytest.fixture(scope="module")
def reader() -> Iterator[ImageReader]:
    made = ImageReader()
    yield made
    made.close()


def png(pixels: Array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
    return out.getvalue()


def pixels_of(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def request(folder: Path, instances: list[Any]) -> str:
    path = folder / "request.json"
    path.write_text(json.dumps({"instances": instances}))
    return str(path)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def made(reader: ImageReader, facts: dict[str, Any], path: str, **wish: Any) -> Material:
    (found,) = materials_of(Wish(input=(path,), **wish), [], facts, reader)
    assert isinstance(found, Material)
    return found


def test_images_in_a_request_flip_as_files_do(reader: ImageReader, tmp_path: Path) -> None:
    other = PIXELS[::-1, :, ::-1]
    material = made(reader, DATA, request(tmp_path, [b64(png(PIXELS)), b64(png(other))]))
    assert material.original().first.tolist() == [png(PIXELS), png(other)]
    assert (material.preview, material.preview_size) == (PIXELS.tobytes(), (32, 24))
    assert material.mirrored == dict.fromkeys(FLIPS, False)
    flipped = material.changed("flip-left-right")
    assert flipped is not None
    assert [pixels_of(one).tolist() for one in flipped.first] == [x[:, ::-1].tolist() for x in (PIXELS, other)]
    assert all(material.changed(name) is not None for name in PROBES)
    assert not material.untried
    even = made(reader, DATA, request(tmp_path, [b64(png(np.full_like(PIXELS, 7)))]))
    assert even.mirrored == dict.fromkeys(FLIPS, True)
    text = made(reader, DATA, request(tmp_path, [b64(png(PIXELS)), b64(b"no image")]))
    assert (text.mirrored, text.changed("noise"), text.untried) == ({}, None, True)


def test_features_of_an_example_are_probed_and_its_picture_flipped(reader: ImageReader, tmp_path: Path) -> None:
    rows = [{"image/encoded": b64(png(PIXELS)), "age": age, "kind": kind} for age, kind in ((40, 3), (20.5, 9))]
    material = made(reader, EXAMPLES, request(tmp_path, rows))

    def fields(name: str) -> list[Any]:
        feed = material.changed(name)
        assert feed is not None
        found = [features_of(one) for one in feed.first]
        return [[float(f["age"][0]), int(f["kind"][0]), pixels_of(bytes(f["image/encoded"][0]))] for f in found if f]

    (one, two) = fields("flip-left-right")
    assert (one[:2], two[:2]) == ([40, 3], [20.5, 9])
    assert np.array_equal(one[2], PIXELS[:, ::-1])
    assert [row[:2] for row in fields("zeros")] == [[0, 3], [0, 3]]
    assert not fields("zeros")[0][2].any()
    assert [row[:2] for row in fields("the negative")] == [[0, 9], [19.5, 3]]
    assert np.array_equal(fields("the negative")[1][2], 255 - PIXELS)
    assert material.range() == ((2,), float(PIXELS.min()), float(PIXELS.max()))
    assert not material.untried


def test_text_that_no_probe_changes_makes_no_constant(reader: ImageReader, tmp_path: Path) -> None:
    specs = [spec("name", "string"), spec("age", "float32")]
    facts = {**EXAMPLES, "parsing": {"e": specs}}
    material = made(reader, facts, request(tmp_path, [{"name": "x", "age": 4.0}]))
    assert material.untried
    assert material.mirrored == {}
    assert material.changed("flip-left-right") is None
    subject = Subject("x", Labels(), 3)
    subject.prepare(material)
    model = cast(Loaded, SimpleNamespace(facts={}, call=lambda *_, **__: ([Answer((("y", np.ones(2)),))], 0.0)))
    subject.original(model, None)
    subject.probed(model, None)
    assert len(subject.facts.probes) >= 2
    assert not subject.facts.constant
    subject.facts.untried = False
    assert subject.facts.constant


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_bytes_that_are_no_example_are_left_alone(data: bytes) -> None:
    found = features_of(data)
    assert found is None or features_of(message_of(found)) is not None


def test_features_come_back_as_they_were_and_the_unpacked_ones_too() -> None:
    many = [spec("f", "float32"), spec("i", "int64"), spec("s", "string")]
    rows = [{**one, "shape": None} for one in many]
    values = {"f": [1.5, float("inf"), -0.0], "i": [-1, 1 << 62], "s": [b"\x00", b""]}
    message = example(values, rows, "")
    found = features_of(message)
    assert found is not None
    assert {key: list(held) for key, held in found.items()} == values
    assert message_of(found) == message
    # a float and an int64 that stand alone: tags 0x0d and 0x08 instead of packed 0x0a
    unpacked = (
        b"\x0a\x19"
        + b"\x0a\x0c\x0a\x01f\x12\x07\x12\x05\x0d\x00\x00\xc0\x3f"
        + b"\x0a\x09\x0a\x01i\x12\x04\x1a\x02\x08\x05"
    )
    found = features_of(unpacked)
    assert found is not None
    assert {key: list(held) for key, held in found.items()} == {"f": [1.5], "i": [5]}


@pytest.mark.tensorflow
@needs_corpus
def test_a_served_model_answers_probes_of_its_examples(worker: Worker, reader: ImageReader, tmp_path: Path) -> None:
    model = Loaded(worker, Order(str(CORPUS / "tfx-keras"), "saved-model"))
    model.ensure()
    keys = ["body_mass_g", "culmen_depth_mm", "culmen_length_mm", "flipper_length_mm"]
    row = dict(zip(keys, (0.4, 0.6, 0.3, 0.7), strict=True))
    material = made(reader, model.facts, request(tmp_path, [row]))
    subject = Subject("x", Labels(), 3)
    subject.prepare(material)
    subject.original(model, None)
    subject.repeated(model, None)
    subject.probed(model, None)
    moves = {probe.name: probe.max_abs for probe in subject.facts.probes}
    print("tfx-keras under probes of its features:", {name: float(f"{moved:.3g}") for name, moved in moves.items()})
    assert set(moves) >= {"zeros", "ones", "noise"}
    assert max(moves.values()) > 0.01
    assert not subject.facts.constant


# ------------------------------------------------------------------ folders


class Decoder:
    """A model that decodes the strings it gets: by halves, how bright the left is beside the right."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts, self.order, self.shapes = facts, SimpleNamespace(path="stub"), set[tuple[int, ...]]()

    def call(self, feed: Feed, calls: int = 1, cancel: Any = None) -> tuple[list[Answer], float]:
        rows = []
        for one in feed.first:
            data = one
            if self.facts.get("parsing"):
                fields = features_of(one)
                assert fields is not None
                data = fields["image/encoded"][0]
            pixels = pixels_of(data).astype(np.float64)
            self.shapes.add(pixels.shape)
            half = pixels.shape[1] // 2
            rows.append([pixels[:, :half].mean(), pixels[:, half:].mean()])
        return [Answer.of([("halves", np.array(rows))])] * calls, 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(3)
    for place in range(22):
        pixels = draw.integers(0, 200, (20, 30, 3), dtype=np.uint8)
        pixels[:, : 4 + place] = pixels[:, : 4 + place] // 3
        Image.fromarray(pixels).save(tmp_path / f"{place:02d}.{'jpg' if place % 2 else 'png'}")
    return tmp_path


def many(model: Any, folder: Path, recipe: Prepares, reader: ImageReader) -> ManyImages:
    told = many_images(cast(Loaded, model), str(folder), recipe, reader, Labels())
    (found,) = [item for item in told if isinstance(item, ManyImages)]
    return found


@pytest.mark.parametrize("facts", [DATA, EXAMPLES], ids=["files", "examples"])
def test_a_folder_goes_through_a_model_that_decodes(facts: dict[str, Any], folder: Path, reader: ImageReader) -> None:
    np.save(folder / "numbers.npy", np.zeros((4, 4, 3), np.float32))
    Image.fromarray(np.zeros((2, 4096, 3), np.uint8)).save(folder / "wide.png")
    model = Decoder(facts)
    found = many(model, folder, folder_recipe(Wish(), facts, reader), reader)
    moves = {move.name: move.mean for move in found.moves}
    assert found.images == 23
    assert moves["flip-left-right"] > 0.1 > moves["flip-up-down"]
    assert [line.split(":")[0] for line in found.failed] == ["numbers.npy"]
    assert "encoded images as bytes" in found.failed[0]
    assert "sent as a PNG of at most 1024 pixels a side" in found.verdict
    assert {shape[:2] for shape in model.shapes} == {(20, 30), (1, 1024)}


def test_a_folder_for_a_model_that_takes_text_is_refused(reader: ImageReader) -> None:
    facts = {"inputs": [{"name": "words", "dtype": "string", "shape": [None]}]}
    with pytest.raises(UsageError, match="nothing in its graph decodes an image"):
        folder_recipe(Wish(), facts, reader)
    with pytest.raises(UsageError, match="it has 0 inputs"):
        folder_recipe(Wish(), {}, reader)


def test_one_open_side_follows_each_picture_of_a_folder(folder: Path, reader: ImageReader) -> None:
    Image.fromarray(np.zeros((40, 20, 3), np.uint8)).save(folder / "tall.png")
    form = Form("x", "float32", (None, 10, None, 3), None, 3, "hwc")
    shapes = set()

    def call(feed: Feed, calls: int = 1, cancel: Any = None) -> tuple[list[Answer], float]:
        shapes.add(feed.first.shape[1:])
        return [Answer.of([("y", feed.first.mean(axis=(1, 2)))])] * calls, 0.0

    model = SimpleNamespace(call=call, order=SimpleNamespace(path="stub"))
    found = many(model, folder, Recipe(form, "0..1", "0..1"), reader)
    assert (found.images, found.failed) == (23, ())
    assert shapes == {(10, 15, 3), (10, 5, 3)}


# ------------------------------------------------------------------ preprocessing beside given arrays


def test_the_chosen_preprocessing_is_marked_beside_other_inputs_too(reader: ImageReader, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    np.save(tmp_path / "age.npy", np.full((1, 1), 40.0))
    inputs = [
        {"name": "age", "dtype": "float32", "shape": [None, 1]},
        {"name": "picture", "dtype": "float32", "shape": [None, 24, 32, 3]},
    ]
    wish = Wish(input=(f"age={tmp_path / 'age.npy'}",), preprocess="0..255")
    (material,) = materials_of(wish, [str(tmp_path / "image.png")], {"inputs": inputs, "first": []}, reader)
    assert isinstance(material, Material)

    def call(feed: Feed, *_: Any, **__: Any) -> tuple[list[Answer], float]:
        age, picture = (values for _, values in feed.parts)
        return [Answer((("y", np.array([age.mean(), picture.mean()])),))], 0.0

    subject = Subject("x", Labels(), 3)
    subject.prepare(material)
    model = cast(Loaded, SimpleNamespace(facts={}, call=call))
    subject.original(model, None)
    probes.vary(subject, model, None)
    rows = {row.preprocess: row for row in subject.variants}
    assert [name for name, row in rows.items() if row.chosen] == ["0..255"]
    assert rows["0..255"].max_abs_diff == 0
    assert (rows["0..1"].low, rows["0..1"].high) == pytest.approx((PIXELS.min() / 255, PIXELS.max() / 255))
    assert rows["0..255"].high == PIXELS.max()
