"""Facts cross the pipe unchanged, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Any

import pytest

from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Endpoint,
    Filter,
    Finding,
    Histogram,
    Layer,
    Listing,
    Pair,
    Segment,
    Signature,
    Slice,
    Stats,
    Storage,
    Tensor,
    TensorScan,
)
from ckptui.engine.facts import CLASSES, pack, pack_tensors, unpack
from ckptui.errors import ReaderFailed

FINDING = Finding("checksum-mismatch", "error", "t", "p", "n", evidence={"found": 3, "deep": {"a": [1, None]}})
STATS = Stats(9, 8, 1, 0, 0, 2, -3, 2**64, 0, 8, 0.1 + 0.2, 5e-324, math.inf)
TENSORS = [
    Tensor("a", "float32", (2, 3), 24, "conv", "kernel", "conv/kernel", Storage("plain", Segment("f", 8, 24), 7)),
    Tensor("b\udcff", "string", (), 0, storage=Storage("none"), problem="no bytes"),
    Tensor(
        "c",
        "float64",
        (2**70, 0),
        8,
        storage=Storage("slices", slices=(Slice((0,), (1,), Segment("g", 0, 8), None),), big_endian=True),
        initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
    ),
    Tensor("d", "int4", (1,), 1, storage=Storage("hdf5", npy_dtype="<f4")),
]
ARTIFACT = Artifact("/x", "keras-h5", "x", None, 5, 0, 4, 9, 1.5, {"keras": "3"}, "ok")
LISTING = Listing(
    ARTIFACT,
    TENSORS,
    (FINDING,),
    (
        Signature(
            "s",
            "m",
            ("serve",),
            (Endpoint("x", "x:0", "float32", (None, 3)),),
            (Endpoint("y", "y:0", "s", None),),
        ),
    ),
    (ArchitectureRow("conv", "Conv2D", 1, (None, 4), 10, ("a",), {"padding": "same"}, True),),
)
FILTER = Filter(0, 1.5, None, -1.0, 0.5, None, True, False, False, False, 3)
LAYER = Layer(
    "a", "conv", (3, 3), 1, 2, {"verdict": "trained", "p_value": 0.5}, {"zero": 1}, 0.1, None,
    {"left_right": {"mean_r": 0.0, "z": 1.0}}, (FILTER,), True,
)  # fmt: skip


def over_the_pipe(value: Any) -> Any:
    return unpack(json.loads(json.dumps(pack(value))))


@pytest.mark.parametrize(
    "fact",
    [
        FINDING,
        STATS,
        ARTIFACT,
        LAYER,
        FILTER,
        Pair("a", None, "bias", "only-a"),
        Pair("a", "b", "bias", "changed", "name", 1.0, 0.5, 0.1, 0.2, 1.0, 4, 5, "axis 0"),
        TensorScan("a", STATS, "mismatch", (FINDING,), 24),
        TensorScan("a", None, "unread"),
        Histogram(-1.0, 1.0, (1, 2, 3), 4),
        *TENSORS,
    ],
)
def test_a_fact_comes_back_equal(fact: Any) -> None:
    assert over_the_pipe(fact) == fact


def test_a_listing_comes_back_with_its_tensors() -> None:
    found = over_the_pipe(LISTING)
    assert list(found.tensors) == TENSORS
    assert dataclasses.replace(found, tensors=TENSORS) == LISTING
    assert found.tensors.names == ["a", "b\udcff", "c", "d"]
    assert found.tensors.find("c") == TENSORS[2]
    assert found.tensors.find("z") is None
    assert found.tensors[-1] == TENSORS[-1]
    assert found.tensors[1:3] == TENSORS[1:3]
    with pytest.raises(IndexError):
        found.tensors[4]


def test_an_empty_listing_comes_back() -> None:
    assert list(over_the_pipe(dataclasses.replace(LISTING, tensors=())).tensors) == []


def test_a_hundred_thousand_tensors_are_packed_in_little_time_and_space() -> None:
    many = [
        Tensor(
            f"layer_{n}/kernel",
            "float32",
            (3, 3),
            36,
            storage=Storage("plain", Segment("/a/b/c/d.data", n * 36, 36), n),
        )
        for n in range(100_000)
    ]
    listing = dataclasses.replace(LISTING, tensors=many)
    begun = time.thread_time()
    text = json.dumps(pack(listing), separators=(",", ":"))
    found = unpack(json.loads(text), Listing)
    assert time.thread_time() - begun < 5
    assert len(text) < 6_000_000
    assert found.tensors[77_777] == many[77_777]


def test_every_class_of_the_list_has_a_check_for_each_field() -> None:
    for name in CLASSES:
        with pytest.raises(ReaderFailed, match="fields"):
            unpack([name])


@pytest.mark.parametrize(
    "doc",
    [
        None,
        7,
        [],
        ["Popen", ["ls"]],
        ["Tensor"],
        [["Stats"]],
        ["Histogram", 0.0, 1.0, [1, "2"], 0],
        ["Histogram", 0.0, 1.0, {"1": 2}, 0],
        ["Histogram", "0", 1.0, [1], 0],
        ["Histogram", 0.0, 1.0, [1], True],
        ["TensorScan", "a", None, "fine", [], 0],
        ["TensorScan", "a", ["Pair"], "ok", [], 0],
        ["TensorScan", 5, None, "ok", [], 0],
        ["TensorScan", "a", None, "ok", [["Stats", *[None] * 13]], 0],
        ["Finding", "c", "error", "t", "", None, "confirmed", "", [], ""],
    ],
)
def test_what_is_no_fact_is_refused(doc: Any) -> None:
    with pytest.raises(ReaderFailed):
        unpack(doc)


def test_another_fact_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(ReaderFailed, match="in place of"):
        unpack(pack(STATS), Histogram)


FILTERS = tuple(
    Filter(i, 0.5 * i, 0.1, None, -1.0, None, i == 3, False, False, False, 2 if i == 4 else None, False, i % 2)
    for i in range(6)
)


def test_filters_travel_by_columns() -> None:
    doc = json.loads(json.dumps(pack(FILTERS)))
    assert doc["columns"]["up_down"] == {"same": None}
    layer = Layer("k", "", (3,), 1, 6, {}, {}, None, None, {}, FILTERS)
    assert over_the_pipe(layer) == layer
    assert over_the_pipe(dataclasses.replace(layer, detail=())).detail == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 7),
        ("count", 0),
        ("count", True),
        ("count", 1 << 40),
        ("columns", []),
        ("l2", {"each": [1.0] * 5}),
        ("l2", {"each": ["1"] * 6}),
        ("l2", {"same": "1"}),
        ("untouched", {"same": 1}),
        ("index", {"each": [True] * 6}),
        ("index", None),
    ],
)
def test_filters_that_are_none_are_refused(key: str, value: Any) -> None:
    doc = json.loads(json.dumps(pack(Layer("k", "", (3,), 1, 6, {}, {}, None, None, {}, FILTERS))))
    filters = next(item for item in doc if isinstance(item, dict) and "columns" in item)
    (filters if key in ("count", "columns") else filters["columns"])[key] = value
    with pytest.raises(ReaderFailed):
        unpack(doc, Layer)


def break_columns(change: Any) -> Any:
    doc = json.loads(json.dumps(pack_tensors(TENSORS)))
    change(doc)
    return [*pack(LISTING)[:2], doc, *pack(LISTING)[3:]]


def test_unbroken_columns_are_taken() -> None:
    assert list(unpack(break_columns(lambda doc: None)).tensors) == TENSORS


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: doc.pop("files"),
        lambda doc: doc.update(count=5),
        lambda doc: doc.update(count=-1),
        lambda doc: doc["columns"].pop("name"),
        lambda doc: doc["columns"]["name"]["each"].__setitem__(0, 9),
        lambda doc: doc["columns"]["shape"]["each"].__setitem__(0, [1.5]),
        lambda doc: doc["columns"].update(name={"same": 3}),
        lambda doc: doc["columns"].update(name={"both": 3}),
        lambda doc: doc["columns"].update(file={"same": 99}),
        lambda doc: doc["columns"].update(role={"same": "villain"}),
        lambda doc: doc["columns"].update(slices={"same": [["Stats"]]}),
    ],
)
def test_broken_columns_are_refused(change: Any) -> None:
    with pytest.raises(ReaderFailed):
        unpack(break_columns(change))
