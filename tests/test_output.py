"""The order in which findings are printed, and what is left out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptui.core.model import Finding
from ckptui.output import findings_text, json_pieces


def finding(artifact: str, tensor: str | None, detail: str = "as ever", code: str = "checksum-mismatch") -> Finding:
    return Finding(
        code=code, severity="error", certainty="confirmed", title="A title", detail=detail, artifact=artifact,
        tensor=tensor, evidence={}, advice="Do this",
    )  # fmt: skip


def heads(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("    ") or "more" in line]


def test_what_explains_a_save_stands_before_its_tensors_and_saves_stay_together() -> None:
    found = [finding("a", "x"), finding("b", "y"), finding("a", None, code="not-a-model"), finding("b", None)]
    assert heads(findings_text(found)) == [
        "✖ not-a-model  a", "✖ checksum-mismatch  a  x", "✖ checksum-mismatch  b", "✖ checksum-mismatch  b  y",
    ]  # fmt: skip


def test_the_same_words_are_told_once() -> None:
    lines = findings_text([finding("a", "x"), finding("a", "y"), finding("a", "z", "other")])
    assert lines.count("    as ever") == 1
    assert lines.count("    other") == 1
    assert len(heads(lines)) == 3


def test_what_is_left_out_is_counted_beside_its_kind() -> None:
    found = [*(finding("a", str(n)) for n in range(8)), finding("b", "x")]
    assert heads(findings_text(found))[5:] == [
        "    … and 3 more checksum-mismatch here (--json lists all)", "✖ checksum-mismatch  b  x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [{}, {"a": []}, {"a": [1]}, {"schema": "x", "rows": [{"b": "nan", "c": None}, {"ä": [1.5]}], "d": {"e": [1, 2]}}],
)
def test_a_document_in_pieces_is_the_document(document: dict[str, Any]) -> None:
    assert json.loads("".join(json_pieces(document))) == document


def test_a_number_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        list(json_pieces({"rows": [float("nan")]}))
