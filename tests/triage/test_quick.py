"""Checks that read no tensor bytes."""

from __future__ import annotations

from ckptui.core.model import Artifact, Finding, Listing, Tensor
from ckptui.triage.quick import hostile_names, quick


def listing(*names: str, findings: tuple[Finding, ...] = ()) -> Listing:
    artifact = Artifact("/s/ckpt-1", "tf-checkpoint", "ckpt-1", 1, 0, 1, len(names), 0, 0.0)
    return Listing(artifact, [Tensor(name, "float32", (1,), 4) for name in names], findings)


def test_a_listing_without_findings_passes() -> None:
    assert quick(listing("conv1/kernel", "épée", "back\\slash")).artifact.status == "ok"


def test_findings_of_the_listing_decide_the_status() -> None:
    for severity in ("error", "warning"):
        told = Finding("entry-invalid", severity, "An entry contradicts itself")
        assert quick(listing("a", findings=(told,))).artifact.status == severity
    info = Finding("unsupported-format", "info", "A format ckptui does not read")
    assert quick(listing("a", findings=(info,))).artifact.status == "ok"


def test_names_that_act_on_terminals_are_one_finding_and_told_raw() -> None:
    found = hostile_names(listing("plain", "a\x1b[2Jb", "c\u202ed"))
    assert [f.code for f in found] == ["name-hostile"]
    assert found[0].evidence == {"count": 2, "names": ["a\x1b[2Jb", "c\u202ed"]}
    assert found[0].tensor is None
    assert hostile_names(listing("one\x07"))[0].tensor == "one\x07"
