"""Which tensor is which across two saves."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.matching import Contents, Match, match, match_listings, repeats
from ckptui.core.matching_sides import kind_of
from ckptui.core.model import ArchitectureRow, Artifact, Listing, Role, Segment, Storage, Tensor


def tensor(name: str, role: Role = "kernel", path: str = "", shape: tuple[int, ...] = (3, 4)) -> Tensor:
    return Tensor(name, "float32", shape, 48, role=role, object_path=path)


def names(a: list[Tensor], b: list[Tensor], pattern: str | None = None) -> list[tuple[str | None, ...]]:
    return [(x.name if x else None, y.name if y else None, how) for x, y, how in match(a, b, pattern)]


def test_equal_names_pair_in_the_order_of_the_baseline() -> None:
    a = [tensor("b"), tensor("a"), tensor("gone")]
    b = [tensor("new"), tensor("a"), tensor("b")]
    assert names(a, b) == [("b", "b", "name"), ("a", "a", "name"), ("gone", None, None), (None, "new", None)]


def test_names_that_differ_pair_by_variable_name() -> None:
    a = [tensor("layer-1/_kernel/.ATTRIBUTES/VARIABLE_VALUE", path="conv1/kernel")]
    b = [tensor("model_weights/conv1/conv1/kernel:0", path="conv1/kernel:0")]
    assert names(a, b)[0][2] == "full-name"
    assert names(a, [tensor("conv1/kernel")])[0][2] == "full-name"


def test_ambiguous_variable_names_pair_with_nobody() -> None:
    a = [tensor("x", path="conv/kernel"), tensor("y", path="conv/kernel")]
    b = [tensor("z", path="conv/kernel")]
    assert names(a, b) == [("x", None, None), ("y", None, None), (None, "z", None)]


def test_a_slot_never_pairs_with_a_weight() -> None:
    weight, slot = tensor("conv/kernel"), tensor("conv/kernel", "slot")
    assert names([weight], [slot]) == [("conv/kernel", None, None), (None, "conv/kernel", None)]
    assert names([tensor("w", path="k")], [tensor("s", "slot", path="k")])[0][1] is None
    assert names([slot], [tensor("conv/kernel", "slot")])[0][2] == "name"


def test_object_graphs_are_left_out() -> None:
    graph = tensor("_CHECKPOINTABLE_OBJECT_GRAPH", "object-graph", shape=())
    assert names([graph, tensor("a")], [graph]) == [("a", None, None)]


def test_another_shape_still_pairs() -> None:
    assert names([tensor("a")], [tensor("a", shape=(3, 5))])[0][2] == "name"


@pytest.mark.parametrize("pattern", ["conv", re.compile("^conv")])
def test_a_pattern_keeps_what_it_is_found_in(pattern: str | re.Pattern[str]) -> None:
    a = [tensor("conv/kernel"), tensor("dense/kernel"), tensor("v0", path="conv/bias")]
    b = [tensor("conv/kernel"), tensor("dense/kernel")]
    assert [m[0].name for m in match(a, b, pattern) if m[0]] == ["conv/kernel", "v0"]


def test_a_hundred_thousand_tensors_are_matched_in_linear_time() -> None:
    many = [tensor(f"layer_{i}/kernel") for i in range(100_000)]
    other = [tensor(f"block/layer_{i}/kernel", path=f"layer_{i}/kernel") for i in range(100_000)]
    matched = match(many, other)
    assert len(matched) == 100_000
    assert all(how == "full-name" for _, _, how in matched)


# ---------------------------------------------------------------------- evidence in its order


def weight(name: str, path: str = "", shape: tuple[int, ...] = (3, 4), crc: int | None = None, **more: Any) -> Tensor:
    """A kernel or bias as a checkpoint's index tells of it."""
    role: Role = "bias" if len(shape) == 1 else "kernel"
    storage = Storage("plain", Segment("f", 0, 4 * math.prod(shape)), crc)
    return Tensor(name, "float32", shape, 4 * math.prod(shape), role=role, object_path=path, storage=storage, **more)


def layers(stem: str, numbers: Iterable[int], shape: tuple[int, ...] = (3, 4)) -> list[Tensor]:
    names = [f"{stem}_{n}" if n else stem for n in numbers]
    return [
        weight(f"{name}/{leaf}", shape=s) for name in names for leaf, s in (("kernel", shape), ("bias", shape[-1:]))
    ]


def pairs(a: list[Tensor], b: list[Tensor]) -> dict[str, str]:
    return {x.name: y.name for x, y, _ in match(a, b) if x and y}


@pytest.mark.parametrize(
    ("mine", "theirs", "by"),
    [
        ("sequential/c1/kernel", "c1/kernel", "weight-path"),
        ("model_1/conv/kernel:0", "conv/kernel", "weight-path"),
        ("model/conv/kernel", "model_1/conv/kernel", "weight-path"),
        ("net/conv/kernel", "other/conv/kernel", "weight-path"),
        ("net/block_dense/kernel", "block/dense/kernel", "weight-path"),
        ("conv/kernel:0", "conv/kernel", "full-name"),
    ],
)
def test_paths_pair_modulo_prefix_and_suffix(mine: str, theirs: str, by: str) -> None:
    a, b = [tensor("v/0", path=mine), tensor("v/1", path=mine.replace("conv", "c9").replace("c1", "c9"))], []
    b = [tensor("w/0", path=theirs), tensor("w/1", path=theirs.replace("conv", "c8").replace("c1", "c8"), shape=(9, 9))]
    if "dense" in mine:
        a, b = a[:1], b[:1]
    found = {(x.name, y.name): how for x, y, how in match(a, b) if x and y}
    assert found[("v/0", "w/0")] == by


def test_the_end_of_two_paths_pairs_with_neither() -> None:
    a = [weight("x", "dense/kernel")]
    b = [weight("y", "encoder/dense/kernel"), weight("z", "decoder/dense/kernel")]
    assert not pairs(a, b)


def test_numbered_places_do_not_outweigh_own_names() -> None:
    a = [weight("variables/0", "stem/kernel"), weight("variables/1", "head/kernel")]
    b = [weight("variables/0", "head/kernel"), weight("variables/1", "tail/kernel")]
    assert pairs(a, b)["variables/1"] == "variables/0"
    renamed = [weight("variables/0", "base/kernel"), weight("variables/1", "top/kernel")]
    assert [m[2] for m in match(a, renamed)] == ["name", "name"]


def test_layers_that_keras_counted_from_another_number_pair_in_order() -> None:
    a, b = layers("conv2d", range(3)), layers("conv2d", range(7, 10))
    assert pairs(a, b) == {x.name: y.name for x, y in zip(a, b, strict=True)}
    assert {m[2] for m in match(a, b)} == {"layer-order"}
    shifted = layers("conv2d", range(1, 4))
    assert pairs(a, shifted) == {x.name: y.name for x, y in zip(a, shifted, strict=True)}
    assert pairs(a, layers("conv2d", range(4))) == {t.name: t.name for t in a}


def test_names_that_users_count_up_stay_what_they_are() -> None:
    a, b = layers("block", range(1, 4)), layers("block", range(2, 5))
    assert pairs(a, b) == {t.name: t.name for t in a if t in b}


def test_layers_of_other_shapes_are_not_counted_anew() -> None:
    a = [*layers("dense", [0], (3, 4)), *layers("dense", [1], (4, 5))]
    b = [*layers("dense", [1], (4, 5)), *layers("dense", [2], (5, 6))]
    assert pairs(a, b) == {"dense_1/kernel": "dense_1/kernel", "dense_1/bias": "dense_1/bias"}


def listing(tensors: Sequence[Tensor], *rows: tuple[str, ...]) -> Listing:
    architecture = tuple(ArchitectureRow(f"row{n}", "Dense", weights=row) for n, row in enumerate(rows))
    return Listing(Artifact("p", "keras-h5", "p", None, 0, 1, len(tensors), 0, 0.0), tensors, architecture=architecture)


def test_the_architecture_orders_layers_whose_names_differ() -> None:
    a = [weight(name) for name in ("zoo/kernel", "ape/kernel", "mid/kernel")]
    b = [weight(name) for name in ("one/kernel", "two/kernel", "six/kernel")]
    left = listing(a, ("zoo/kernel",), ("ape/kernel",), ("mid/kernel",))
    right = listing(b, ("two/kernel",), ("six/kernel",), ("one/kernel",))
    found = {(x.name, y.name, by) for x, y, by in match_listings(left, right) if x and y}
    order = "layer-order"
    assert found == {
        ("zoo/kernel", "two/kernel", order),
        ("ape/kernel", "six/kernel", order),
        ("mid/kernel", "one/kernel", order),
    }
    assert not pairs(a, b), "an alphabet is no order"


def test_content_wins_over_order_and_tells_where_there_is_none() -> None:
    a = [weight(f"{n}/kernel", shape=(4, 4), crc=100 + i) for i, n in enumerate(("a", "b", "c"))]
    b = [weight(f"{n}/kernel", shape=(4, 4), crc=c) for n, c in (("x", 102), ("y", 100), ("z", 7))]
    rows = ([(t.name,) for t in a], [(t.name,) for t in b])
    found = {
        (x.name[0], y.name[0]): by for x, y, by in match_listings(listing(a, *rows[0]), listing(b, *rows[1])) if x and y
    }
    assert found == {("a", "y"): "content", ("c", "x"): "content", ("b", "z"): "layer-order"}
    assert {(x.name[0], y.name[0]): by for x, y, by in match(a, b) if x and y} == found | {}


def test_constants_and_few_values_are_no_evidence() -> None:
    zeros, ones = crc32c(bytes(64)), crc32c(np.ones(16, "f4").tobytes())
    for crc, shape in ((zeros, (4, 4)), (ones, (4, 4)), (5, (3, 5))):
        a = [weight("a/w", shape=shape, crc=crc), weight("b/w", shape=shape, crc=1)]
        b = [weight("x/w", shape=shape, crc=2), weight("y/w", shape=shape, crc=crc)]
        assert not pairs(a, b)
    assert len(pairs([weight("a/w", shape=(4, 4), crc=9)], [weight("y/w", shape=(4, 4), crc=9)])) == 1


def test_two_with_the_same_bytes_stay_alone() -> None:
    a = [weight("a/w", shape=(4, 4), crc=9)]
    assert not pairs(a, [weight("x/w", shape=(4, 4), crc=9), weight("y/w", shape=(4, 4), crc=9)])


def test_whose_bytes_would_decide_is_asked_for() -> None:
    a, b = ([weight(f"{n}/w", shape=(4, 4)) for n in names] for names in ("ab", "xy"))
    contents = Contents()
    assert not [x for x, y, _ in match_listings(listing(a), listing(b), None, contents) if x and y]
    assert contents.wanted == {(0, "a/w"), (0, "b/w"), (1, "x/w"), (1, "y/w")}
    known = Contents({(0, "a/w"): 1, (0, "b/w"): 2, (1, "x/w"): 2, (1, "y/w"): None})
    found = {(x.name, y.name): by for x, y, by in match_listings(listing(a), listing(b), None, known) if x and y}
    assert found == {("b/w", "x/w"): "content", ("a/w", "y/w"): "layer-order"} or found == {("b/w", "x/w"): "content"}
    assert not known.wanted


# ---------------------------------------------------------------------- what optimizers keep


def slot(name: str, path: str = "", shape: tuple[int, ...] = (3, 4)) -> Tensor:
    return Tensor(name, "float32", shape, 48, role="slot", object_path=path)


STYLES = {
    "Keras 3": ("optimizer/_variables/{n}/.ATTRIBUTES/VARIABLE_VALUE", "adam/{flat}_{new}"),
    "Keras 3 h5": ("optimizer_weights/adam_1/{flat}_{new}", "adam_1/{flat}_{new}"),
    "with the model": ("optimizer_weights/adam_1/sequential_{flat}_{new}", "adam_1/sequential_{flat}_{new}"),
    "Keras 2.11": ("optimizer/_variables/{m}/.ATTRIBUTES/VARIABLE_VALUE", "Adam/{short}/{path}"),
    "Keras 2": ("optimizer_weights/Adam/{path}/{short}:0", "Adam/{path}/{short}"),
    "Keras 2.0": ("optimizer_weights/training/Adam/{path}/{short}:0", "training/Adam/{path}/{short}"),
    "slot key": ("{path}/.OPTIMIZER_SLOT/optimizer/{short}/.ATTRIBUTES/VARIABLE_VALUE", ""),
    "TF1": ("{path}/{tf1}", ""),
    "list": ("optimizer/vars/{n}", "adam/{n}"),
}


def optimizer(style: str) -> list[Tensor]:
    """Two layers of one shape and Adam's slots as a format calls them."""
    stored, own = STYLES[style]
    found = [weight(f"{name}/kernel") for name in ("c1", "c2_a")]
    for j, path in enumerate(("c1/kernel", "c2_a/kernel")):
        for k, (new, short, tf1) in enumerate((("momentum", "m", "Adam"), ("velocity", "v", "Adam_1"))):
            words = {"n": 2 + 2 * j + k, "m": 1 + 2 * j + k, "new": new, "short": short, "tf1": tf1, "path": path}
            words["flat"] = path.replace("/", "_")
            found.append(slot(stored.format(**words), own.format(**words)))
    return found


@pytest.mark.parametrize(("one", "other"), list(permutations(STYLES, 2)))
def test_slots_pair_across_generations(one: str, other: str) -> None:
    a, b = optimizer(one), optimizer(other)
    rows = tuple((t.name,) for t in a[:2])
    matched = match_listings(listing(a, *rows), listing(b, *rows))
    assert {x.name: y.name for x, y, _ in matched if x and y} == {x.name: y.name for x, y in zip(a, b, strict=True)}


def test_slots_of_a_list_stay_alone_where_the_order_is_unknown() -> None:
    a, b = optimizer("list"), optimizer("TF1")
    assert {x for x in pairs(a, b) if "optimizer" in x} == set()


def test_lists_of_another_length_pair_place_by_place_only_where_shapes_agree() -> None:
    a = optimizer("list")
    longer = [*a, slot("optimizer/vars/6", "adam/6", (9,)), slot("optimizer/vars/7", "adam/7", (9,))]
    assert sum("optimizer" in x for x in pairs(a, longer)) == 4
    inserted = [replace(t, name=t.name.replace("/2", "/6").replace("/3", "/7")) for t in longer]
    inserted[-2:] = [replace(t, name=f"optimizer/vars/{n}") for n, t in zip((2, 3), longer[-2:], strict=True)]
    assert not [x for x in pairs(a, inserted) if "optimizer" in x]


def test_slots_that_nobody_named_pair_in_the_order_of_their_numbers() -> None:
    def saved(start: int, *shapes: tuple[int, ...]) -> list[Tensor]:
        names = [f"Variable_{n}" if n else "Variable" for n in range(start, start + len(shapes))]
        return [slot(f"optimizer_weights/{n}:0", f"{n}:0", shape) for n, shape in zip(names, shapes, strict=True)]

    shapes = [(3, 4), (4,), (3, 4), (4,)]
    for start in (104, 2):
        a, b = saved(0, *shapes), saved(start, *shapes)
        assert pairs(a, b) == {x.name: y.name for x, y in zip(a, b, strict=True)}
    assert not pairs(saved(0, *shapes), saved(1, *shapes, (5,)))


def test_first_and_second_moments_are_not_one_another() -> None:
    a = [weight("c/kernel"), slot("optimizer/_variables/2", "adam/c_kernel_momentum")]
    b = [weight("c/kernel"), slot("optimizer/_variables/2", "rm_sprop/c_kernel_velocity")]
    assert pairs(a, b) == {"c/kernel": "c/kernel"}


def counter(name: str, path: str = "", dtype: str = "int64") -> Tensor:
    return Tensor(name, dtype, (), 8, role="counter", object_path=path)


def test_counters_pair_by_what_they_count() -> None:
    keras = [
        counter("optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE", "adam/iteration"),
        counter("optimizer/_learning_rate/.ATTRIBUTES/VARIABLE_VALUE", "adam/learning_rate", "float32"),
        counter("save_counter/.ATTRIBUTES/VARIABLE_VALUE", "save_counter"),
    ]
    listed_ = [counter("optimizer/vars/0", "adam/0"), counter("optimizer/vars/1", "adam/1", "float32")]
    older = [counter("optimizer_weights/Adam/iter:0", "Adam/iter"), counter("global_step"), counter("beta1_power")]
    assert pairs(keras, listed_) == {x.name: y.name for x, y in zip(keras[:2], listed_, strict=True)}
    assert pairs(older, listed_) == {older[0].name: listed_[0].name}
    assert pairs(older, [counter("beta1_power"), counter("global_step")]) == {t.name: t.name for t in older[1:]}
    assert not pairs([keras[2]], listed_)
    assert len(pairs([counter("optimizer_weights/iterations:0")], [counter("optimizer_weights/iterations_1:0")])) == 1
    assert not pairs([counter("beta1_power")], [counter("beta2_power")])


def test_the_lists_of_a_loss_scale_optimizer_are_one() -> None:
    inner = [counter("optimizer/inner_optimizer/vars/0", "adam/0"), slot("optimizer/inner_optimizer/vars/1", "adam/1")]
    outer = [counter(f"optimizer/vars/{n}", f"loss_scale_optimizer/{n}") for n in range(2)]
    a = [*outer, slot("optimizer/vars/2", "loss_scale_optimizer/2"), *inner, weight("c/kernel")]
    b = [slot("optimizer_weights/adam/c_kernel_momentum", "adam/c_kernel_momentum"), weight("c/kernel")]
    matched = match_listings(listing(a, ("c/kernel",)), listing(b))
    twice = sorted(x.name for x, y, _ in matched if x and y and x.role == "slot")
    assert twice == ["optimizer/inner_optimizer/vars/1", "optimizer/vars/2"]
    assert list(repeats(matched).values()) == ["optimizer/vars/2 is optimizer/inner_optimizer/vars/1 stored again"]


# ---------------------------------------------------------------------- a save's own order, parts, variables of a shape


def block(stored: str, own: str, parts: Iterable[str] = (), crcs: Sequence[int | None] = (None, None)) -> list[Tensor]:
    """Two weights of one shape that a `.keras` file numbers, and layers inside."""
    two = [weight(f"{stored}/vars/{n}", f"{own}/{n}", (4, 4), crc) for n, crc in enumerate(crcs)]
    inside = [
        (f"{stored}/{part}/vars/{n}", f"{own}/{part}/{leaf}", shape)
        for part in parts
        for n, (leaf, shape) in enumerate((("kernel", (4, 4)), ("bias", (4,))))
    ]
    return two + [weight(*row) for row in inside]


def named(own: str, first: str, second: str, crcs: Sequence[int | None] = (None, None)) -> list[Tensor]:
    """The same two in the order of an alphabet, as checkpoints and `.h5` files name them."""
    paths = zip((first, second), crcs, strict=True)
    return sorted((weight(f"m/{own}/{leaf}", f"{own}/{leaf}", (4, 4), crc) for leaf, crc in paths), key=str)


def test_variables_of_one_shape_pair_by_bytes_then_by_order_or_not_at_all() -> None:
    a = block("a", "blk_1", crcs=(1, 2))
    right = {"a/vars/0": "m/blk_1/w", "a/vars/1": "m/blk_1/kernel"}
    b = named("blk_1", "w", "kernel", (1, 2))
    assert {(x.name, y.name, by) for x, y, by in match(a, b) if x and y} == {(*two, "content") for two in right.items()}
    b = named("blk_1", "w", "kernel", (3, 4))
    assert not pairs(a, b)
    told_order = replace(listing(b), order=("m/blk_1/w", "m/blk_1/kernel"))
    assert {x.name: y.name for x, y, _ in match_listings(listing(a), told_order) if x and y} == right
    slots = [slot(f"o/_variables/{n}", f"adam/blk_1_{leaf}_momentum", (4, 4)) for n, leaf in ((2, "w"), (3, "kernel"))]
    assert pairs(a, [*b, *slots]) == right
    half = named("blk_1", "w", "kernel", (3, 2))
    assert pairs(a, half) == right


def test_what_a_layer_found_by_its_bytes_holds_besides_is_not_called_equal() -> None:
    a = [weight("x/kernel", "x/kernel", (4, 5), crc=1), weight("x/bias", "x/bias", (17,), crc=2)]
    b = [weight("y/kernel", "y/kernel", (4, 5), crc=1), weight("y/bias", "y/bias", (17,), crc=3)]
    more = [weight(f"{name}/{leaf}", "", shape, crc=n) for n, name in ((7, "p"), (8, "q")) for leaf, shape in SHAPES]
    matched = match([*a, *more[:2]], [*b, *more[2:]])
    assert {(x.name, by) for x, y, by in matched if x and y and y.name[0] == "y"} == {
        ("x/kernel", "content"),
        ("x/bias", "layer-order"),
    }


SHAPES: list[tuple[str, tuple[int, ...]]] = [("kernel", (4, 5)), ("bias", (17,))]


def exported(*leaves: str) -> list[Tensor]:
    """All variables of a subclassed model under names cut short, as Keras 3 exports them."""
    return [
        weight(f"variables/{n}", f"sub/{leaf}", (4,) if leaf == "bias" else (4, 4)) for n, leaf in enumerate(leaves)
    ]


def test_an_export_of_a_subclassed_model_pairs_in_the_order_of_its_layers() -> None:
    dense = ("kernel", "bias")
    saved = [*block("z", "blk", ("dense_1", "dense_2")), *block("a", "blk_1", ("dense_3", "dense_4"))]
    saved += [
        weight(f"out/vars/{n}", f"dense_5/{leaf}", shape)
        for n, (leaf, shape) in enumerate((("kernel", (4, 4)), ("bias", (4,))))
    ]
    export = exported(*("w", "kernel", *dense, *dense) * 2, *dense)
    order = [t.name for t in saved]
    assert pairs(saved, export) == {name: f"variables/{n}" for n, name in enumerate(order)}
    assert pairs(export, saved) == {f"variables/{n}": name for n, name in enumerate(order)}
    # two layers whose names tell no order
    unknown = [replace(t, object_path=t.object_path.replace("dense_5", "one")) for t in saved]
    unknown += [replace(t, name="x" + t.name, object_path=t.object_path.replace("one", "two")) for t in unknown[-2:]]
    assert not pairs(unknown, exported(*("w", "kernel", *dense, *dense) * 2, *dense, *dense)).keys() & {"out/vars/0"}


def test_an_order_with_very_many_ways_is_given_up_in_time() -> None:
    stems = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(90)]
    names = [f"{stem}_{n}/{leaf}" for stem in stems for n in range(3) for leaf in ("kernel", "bias")]
    saved = [weight(f"layers/{name}", name, (4,) if name.endswith("bias") else (4, 4)) for name in names]
    deep = [weight(f"{'x/' * 3000}{n}/kernel", "", (4, 4)) for n in range(3)]
    assert not pairs(saved, exported(*("kernel", "bias") * 270))
    assert len(pairs(deep, exported(*["kernel"] * 3))) == 3


def test_slots_of_a_list_pair_in_the_order_in_which_an_h5_file_lists_them() -> None:
    """Adam with `amsgrad` and averages: (average of all; momentum, velocity in turn; velocity_hat of all)."""
    kinds = [("average",), ("momentum", "velocity"), ("velocity_hat",)]
    names = [f"adam/{path}_kernel_{kind}" for turn in kinds for path in ("d", "c") for kind in turn]
    weights = [weight(f"w/{path}/kernel", f"{path}/kernel") for path in ("d", "c")]
    heads = [(counter, "iteration"), (counter, "learning_rate")]
    h5 = [make(f"optimizer_weights/adam/{leaf}", f"adam/{leaf}") for make, leaf in heads]
    h5 += [slot(f"optimizer_weights/{name}", name) for name in names]
    keras = [make(f"optimizer/vars/{n}", f"adam/{n}") for n, (make, _) in enumerate(heads)]
    keras += [slot(f"optimizer/vars/{n}", f"adam/{n}") for n in range(2, 2 + len(names))]
    told_order = replace(listing([*weights, *sorted(h5, key=str)]), order=tuple(t.name for t in [*weights, *h5]))
    for a, b in ((listing([*weights, *keras]), told_order), (told_order, listing([*weights, *keras]))):
        found = {x.name: y.name for x, y, _ in match_listings(a, b) if x and y and x.role != "kernel"}
        right = {x.name: y.name for x, y in zip(keras, h5, strict=True)}
        assert found == (right if a is not told_order else {y: x for x, y in right.items()})
    # a file that lost a counter, and with it the order of its list: Keras' own order is what is left
    rest = [t for t in told_order.tensors if t.name != h5[1].name]
    matched = match_listings(listing([*weights, *keras], *((t.name,) for t in weights)), listing(rest))
    slots = {x.name: y.name for x, y, _ in matched if x and y and x.role == "slot"}
    assert slots == {x.name: y.name for x, y in zip(keras[2:], h5[2:], strict=True)}


# ---------------------------------------------------------------------- kinds, copies, text


def test_tensors_pair_within_their_kind_only() -> None:
    kinds: tuple[Role, ...] = ("kernel", "slot", "counter", "rng-state", "metric")
    for one, other in permutations(kinds, 2):
        mine, theirs = tensor("x/y", one, shape=(2, 9)), tensor("x/y", other, shape=(2, 9))
        assert not pairs([mine], [theirs])
        assert not pairs([replace(mine, object_path="v/k")], [replace(theirs, name="z", object_path="v/k")])


def test_strings_pair_by_name_and_with_strings_only() -> None:
    words = replace(tensor("table/keys", "other", shape=(5,)), dtype="string")
    assert pairs([words], [replace(words, shape=(6,))]) == {"table/keys": "table/keys"}
    assert not pairs([words], [tensor("table/keys", "other", shape=(5,))])


def test_a_weight_stored_twice_is_held_against_its_partner_twice() -> None:
    twice = [weight("variables/7", "c/kernel", crc=3), weight("_all_variables/1", "c/kernel", crc=3)]
    once = [weight("model_weights/c/c/kernel", "c/kernel")]
    for a, b in ((twice, once), (once, twice)):
        matched = match(a, b)
        assert all(x and y and by == "full-name" for x, y, by in matched)
        assert list(repeats(matched).values()) == ["_all_variables/1 is variables/7 stored again"]
    assert len(match(once, twice)) == len(match(twice, once)) == 2
    assert all(x is None or y is None for x, y, _ in match(twice, [weight("q")]))


def test_equal_weights_of_one_name_are_not_taken_for_copies() -> None:
    zeros = [weight(f"variables/{n}", "sub/bias", (4,), crc=8) for n in range(2)]
    again = [weight(f"_all_variables/{n}", "sub/bias", (4,), crc=8) for n in range(2)]
    other = [weight(f"{n}/bias", f"sub/d_{n}/bias", (4,)) for n in range(2)]
    matched = match([*zeros, *again], other)
    assert len({y.name for x, y, _ in matched if x and y and x.name.startswith("variables")}) in (0, 2)


# ---------------------------------------------------------------------- whatever is given

_names = st.sampled_from(
    ["c/kernel", "c_1/kernel", "d/bias", "dense/kernel", "dense_1/kernel", "dense_2/kernel", "m/dense/kernel", "x", "y"]
)
_tensors = st.lists(
    st.builds(
        lambda stored, own, role, shape, crc: Tensor(
            stored,
            "float32",
            shape,
            4 * math.prod(shape),
            role=role,
            object_path=own,
            storage=Storage("plain", None, crc),
        ),
        st.one_of(
            _names, st.integers(0, 5).map(lambda n: f"variables/{n}"), st.sampled_from(["c/kernel/Adam", "c/vars/0"])
        ),
        st.one_of(st.just(""), _names),
        st.sampled_from(["kernel", "bias", "slot", "counter", "other", "rng-state"]),
        st.sampled_from([(4, 4), (5, 4), (4,), ()]),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    max_size=9,
    unique_by=lambda t: t.name,
)


def told(matched: list[Match]) -> set[tuple[str | None, str | None, str | None]]:
    return {(x.name if x else None, y.name if y else None, by) for x, y, by in matched}


@settings(max_examples=100, deadline=None)
@given(_tensors, _tensors, st.randoms(use_true_random=False))
def test_matching_is_a_partial_injection_symmetric_and_blind_to_order(
    a: list[Tensor], b: list[Tensor], chance: random.Random
) -> None:
    matched = match(a, b)
    assert [t.name for t in a] == list(dict.fromkeys(x.name for x, _, _ in matched if x))
    assert {y.name for _, y, _ in matched if y} == {t.name for t in b}
    for place in range(2):
        seen = [m[:2][place] for n, m in enumerate(matched) if n not in repeats(matched)]
        assert len({t.name for t in seen if t}) == sum(t is not None for t in seen)
    for x, y, by in matched:
        assert (by is None) == (x is None or y is None)
        assert not (x and y) or kind_of(x) == kind_of(y)
        assert by != "name" or (x and y and x.name == y.name)
        assert by != "content" or (x and y and x.storage.crc32c == y.storage.crc32c)
    assert {(y, x, by) for x, y, by in told(matched)} == told(match(b, a))
    assert told(match(chance.sample(a, len(a)), chance.sample(b, len(b)))) == told(matched)
