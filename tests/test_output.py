"""The order in which findings are printed, and what is left out of them."""

from __future__ import annotations

from ckptui.core.model import Finding
from ckptui.output import findings_text


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
