"""A later finding takes the place of an earlier one that blamed something else, and of nothing more."""

from __future__ import annotations

from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.core.settling import settled
from ckptui.ui.ledger import SaveRecord
from tests.ui.test_ledger import found


def told(code: str, tensor: str | None = None, **evidence: Any) -> Finding:
    return make(code, "/r/x", tensor, evidence=evidence)


def after(earlier: list[Finding], later: list[Finding]) -> list[tuple[str, str | None]]:
    """What is left by `settled`, which the screen's ledger must agree with."""
    kept = [(f.code, f.tensor) for f in settled(earlier, later)]
    record = SaveRecord(found("x"))
    record.learn(earlier)
    record.learn(later)
    assert [(f.code, f.tensor) for f in record.findings] == kept
    assert sum(record.counts.values()) == len(kept)
    return kept


def test_the_cause_found_last_takes_the_place_of_the_bare_mismatch() -> None:
    first = [told("checksum-mismatch", "a"), told("checksum-mismatch", "b"), told("non-finite", "a")]
    assert after(first, [told("index-data-mismatch", "a"), told("zero-filled", "b")]) == [
        ("non-finite", "a"),
        ("index-data-mismatch", "a"),
        ("zero-filled", "b"),
    ]


def test_the_same_code_with_more_evidence_is_told_once() -> None:
    kept = settled([told("checksum-mismatch", "a", found=1)], [told("checksum-mismatch", "a", found=1, bit=2)])
    assert [finding.evidence for finding in kept] == [{"found": 1, "bit": 2}]


def test_two_bad_tiles_of_one_tensor_stay_two() -> None:
    tiles = [told("checksum-mismatch", "a", part="tile 0"), told("checksum-mismatch", "a", part="tile 1")]
    assert len(settled([], tiles)) == 2
    record = SaveRecord(found("x"))
    record.learn(tiles)
    assert len(record.findings) == 2
    assert not record.learn(tiles)


def test_a_graph_that_makes_no_sense_does_so_because_of_its_bytes() -> None:
    graph = [told("entry-invalid", OBJECT_GRAPH_KEY), told("entry-invalid", "a")]
    assert after(graph, [told("checksum-mismatch", OBJECT_GRAPH_KEY), told("checksum-mismatch", "a")]) == [
        ("entry-invalid", "a"),
        ("checksum-mismatch", OBJECT_GRAPH_KEY),
        ("checksum-mismatch", "a"),
    ]


def test_a_file_made_longer_by_a_text_copy_was_not_appended_to() -> None:
    first = [told("shard-oversized", file="/r/one"), told("shard-oversized", file="/r/two")]
    text = told("not-a-model", file="/r/one", text_mangled=True)
    assert after(first, [text]) == [("shard-oversized", None), ("not-a-model", None)]


def test_findings_of_several_files_are_all_told() -> None:
    both = [told("not-a-model", file="/r/one"), told("not-a-model", file="/r/two")]
    assert len(after([], both)) == 2
    assert len(after(both, both)) == 2
