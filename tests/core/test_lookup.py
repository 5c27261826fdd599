"""Every name the tool prints, and every clear end of one, leads to its tensor; what is not clear is not guessed."""

from __future__ import annotations

import time

from ckptui.core.lookup import alike, copies_of, meant
from ckptui.core.model import Storage, Tensor
from ckptui.core.vocabulary import Role

TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"


def tensor(
    name: str, path: str = "", layer: str = "", role: Role = "kernel", crc: int | None = 7, size: int = 4
) -> Tensor:
    stored = Storage("plain", crc32c=crc)
    return Tensor(name, "float32", (size,), 4 * size, layer=layer, role=role, object_path=path, storage=stored)


EXPORT = [
    tensor("_all_variables/8" + TAIL, "sequential/d1/kernel", "d1", crc=1),
    tensor("_all_variables/9" + TAIL, "sequential/d1/bias", "d1", "bias", 2),
    tensor("variables/8" + TAIL, "sequential/d1/kernel", "d1", crc=1),
    tensor("variables/9" + TAIL, "sequential/d1/bias", "d1", "bias", 3),
    tensor("variables/10" + TAIL, "sequential/d10/kernel", "d10", crc=4),
    tensor("optimizer/_variables/3" + TAIL, "adam/sequential/d10/kernel", "d10", "slot", 5),
]


def names(tensors: list[Tensor]) -> list[str]:
    return [t.name.removesuffix(TAIL) for t in tensors]


def test_each_way_to_name_a_tensor() -> None:
    assert names(meant(EXPORT, "_all_variables/8" + TAIL)) == ["_all_variables/8"]
    assert names(meant(EXPORT, "_all_variables/8")) == ["_all_variables/8"]
    assert names(meant(EXPORT, "sequential/d1/kernel")) == ["variables/8"]
    assert names(meant(EXPORT, "d1/kernel")) == ["variables/8"]
    assert names(meant(EXPORT, "d10/kernel")) == ["variables/10"]
    assert names(meant(EXPORT, "adam/sequential/d10/kernel")) == ["optimizer/_variables/3"]


def test_what_is_not_clear_or_fits_nothing_is_not_guessed() -> None:
    assert names(meant(EXPORT, "kernel")) == ["variables/8", "variables/10"]
    # two values under one name: a copy that went another way is no copy
    assert names(meant(EXPORT, "d1/bias")) == ["_all_variables/9", "variables/9"]
    for nothing in ("1/kernel", "ernel", "", "d1", "/"):
        assert meant(EXPORT, nothing) == []


def test_an_exact_name_goes_before_the_name_of_another_variable() -> None:
    tensors = [tensor("a/kernel", "b/kernel"), tensor("b/kernel", "c/kernel"), tensor("b/kernel", "d/kernel")]
    assert meant(tensors, "b/kernel") == [tensors[1]]


def test_a_variable_stored_twice_needs_one_checksum() -> None:
    assert copies_of(EXPORT) == {"_all_variables/8" + TAIL: "variables/8" + TAIL}
    assert copies_of([tensor("a", "x", crc=None), tensor("b", "x", crc=None)]) == {}
    assert copies_of([tensor("a", "x"), tensor("b", "x", size=5)]) == {}
    assert copies_of([tensor("a"), tensor("b")]) == {}


def test_near_names_are_such_as_can_be_typed() -> None:
    assert alike(EXPORT, "d1") == ["sequential/d1/kernel", "sequential/d1/bias"]
    for typed in ("d10/kernal", "sequential/d10/kernl", "variables/100"):
        near = alike(EXPORT, typed)
        assert near
        assert all(len(meant(EXPORT, name)) >= 1 for name in near)
    assert alike(EXPORT, "d10/kernal")[0] == "sequential/d10/kernel"
    assert alike(EXPORT, "%%%") == []


def test_a_slip_of_the_pen_among_many_names_is_answered_soon() -> None:
    many = [tensor(f"block_{n}/conv/kernel", f"model/block_{n}/conv/kernel") for n in range(60_000)]
    began = time.perf_counter()
    assert "model/block_31000/conv/kernel" in alike(many, "model/block_31000/conv/kernal")
    print(f"near names among {len(many):,}: {time.perf_counter() - began:.1f} s")
