"""Findings name a tensor as its layer does, and tell once what is stored twice."""

from __future__ import annotations

from dataclasses import replace

from ckptui.core.model import Finding, Storage, Tensor
from ckptui.core.naming import PLAIN, naming_of, own_names, without_copies
from ckptui.core.report import finding_lines
from ckptui.output import findings_text, index_text

TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"


def tensor(name: str, path: str, layer: str, crc: int = 1) -> Tensor:
    return Tensor(
        name, "float32", (2, 2), 16, layer=layer, role="kernel", object_path=path, storage=Storage("plain", crc32c=crc)
    )


def finding(tensor: str, detail: str = "as drawn") -> Finding:
    return Finding("at-initializer", "warning", "Untouched", "m", tensor, detail=detail)


TENSORS = [
    tensor("_all_variables/6" + TAIL, "sequential/c2/kernel", "c2"),
    tensor("variables/6" + TAIL, "sequential/c2/kernel", "c2"),
    tensor("variables/7" + TAIL, "a/c3/kernel", "c3", 2),
    tensor("variables/8" + TAIL, "b/c3/kernel", "c3", 3),
    tensor("model_weights/c4/sequential/c4/kernel", "c4/kernel", "c4", 4),
]


def test_names_start_at_the_layer_and_tell_tensors_apart() -> None:
    assert list(own_names(TENSORS).values()) == ["c2/kernel", "c2/kernel", "a/c3/kernel", "b/c3/kernel", "c4/kernel"]


def test_a_finding_says_what_the_layer_calls_its_tensor() -> None:
    found = [finding(t.name) for t in TENSORS]
    naming = naming_of("m", TENSORS, found)
    heads = [finding_lines(f, naming=naming)[0] for f in found]
    assert heads[1] == "▲ at-initializer  variables/6 (c2/kernel)"
    assert heads[4] == "▲ at-initializer  model_weights/c4/sequential/c4/kernel"
    assert finding_lines(found[1])[0] == f"▲ at-initializer  m  variables/6{TAIL}"
    of_many = naming_of("m", TENSORS, found, alone=False) | naming_of("other", (), ())
    assert finding_lines(found[1], naming=of_many)[0] == "▲ at-initializer  m  variables/6 (c2/kernel)"
    assert finding_lines(replace(found[1], artifact="other"), naming=of_many)[0].endswith(f"other  variables/6{TAIL}")


def test_a_variable_stored_twice_is_told_once_unless_its_copy_differs() -> None:
    found = [finding(TENSORS[0].name), finding(TENSORS[1].name)]
    naming = naming_of("m", TENSORS, found)
    assert without_copies(found, naming) == found[1:]
    assert findings_text(found, naming)[0] == "▲ at-initializer  variables/6 (c2/kernel)"
    odd = [finding(TENSORS[0].name, "its bytes are wrong"), found[1]]
    assert without_copies(odd, naming) == odd
    assert without_copies(found, PLAIN) == found


def test_a_hostile_name_can_do_nothing_to_a_terminal() -> None:
    evil = tensor("x", "a/\x1b[31mc/kernel", "\x1b[31mc")
    line = finding_lines(finding("x"), naming=naming_of("m", [evil], [finding("x")]))[0]
    assert "\x1b" not in line
    assert "x1b" in line


def test_the_index_of_an_element_along_each_axis() -> None:
    assert index_text(0, (3, 4)) == "[0,0]"
    assert index_text(11, (3, 4)) == "[2,3]"
    assert index_text(((2 * 3 + 0) * 3 + 2) * 24 + 8, (3, 3, 3, 24)) == "[2,0,2,8]"
