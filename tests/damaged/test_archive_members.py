"""What stands in a `.keras` archive in place of its weights, archives copied as text, and archives called `.h5`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptui.core.model import Finding
from ckptui.readers.keras_archive import open_archive
from ckptui.session import Session
from tests.places import SAMPLES, needs_samples

pytestmark = needs_samples

WEIGHTS = "model.weights.h5"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"c" * 64 + b"\nsize 4711\n"
SAYS = "Unable to synchronously open file (file signature not found)"
INSTEAD: dict[str, tuple[Callable[[bytes], bytes], str, dict[str, Any]]] = {
    "nothing": (lambda data: b"", "empty-file", {"bytes": 0}),
    "zeros": (lambda data: bytes(len(data)), "zero-filled", {"offset": 0}),
    "page": (lambda data: b"<!DOCTYPE html><p>404", "not-a-model", {"looks_like": "web page or error message"}),
    "pointer": (lambda data: LFS, "not-a-model", {"looks_like": "git-lfs pointer", "size": 4711}),
    "gzip": (lambda data: b"\x1f\x8b\x08" + data[:999], "not-a-model", {"looks_like": "gzip archive"}),
    "crlf": (lambda data: data.replace(b"\n", b"\r\n"), "not-a-model", {"text_mangled": True}),
    "noise": (lambda data: b"\x01\x02\x03\x04" * 999, "hdf5-damaged", {"bytes": 3996}),
}


def findings(path: Path) -> list[Finding]:
    """Of the quick look and of the check of every member."""
    with open_archive(path) as opened:
        listing = opened.listing()
        return [*listing.findings, *opened.verify()]


@pytest.mark.parametrize("what", INSTEAD)
def test_something_else_in_the_place_of_the_weights(tmp_path: Path, what: str) -> None:
    change, code, facts = INSTEAD[what]
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(SAMPLES / "digits.keras") as whole, zipfile.ZipFile(path, "w") as other:
        for name in whole.namelist():
            data = whole.read(name)
            other.writestr(name, change(data) if name == WEIGHTS else data)
    (finding,) = findings(path)
    assert (finding.code, finding.severity) == (code, "error")
    evidence = finding.evidence
    assert (evidence["member"], evidence["tensorflow_says"]) == (WEIGHTS, SAYS)
    assert {name: evidence[name] for name in facts} == facts
    assert "the archive's CRC-32 is right" in finding.detail


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("seven-bit", lambda data: bytes(byte & 127 for byte in data)),
        ("lf", lambda data: data.replace(b"\r\n", b"\n")),
    ],
)
def test_a_text_copy_that_can_not_be_taken_back_is_one_finding(
    tmp_path: Path, kind: str, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(change((SAMPLES / "digits.keras").read_bytes()))
    (finding,) = findings(path)
    assert (finding.code, finding.evidence["text_mangled"]) == ("not-a-model", kind)


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "m.hdf5"])
def test_an_archive_called_hdf5_is_told_and_read(tmp_path: Path, shared_session: Session, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((SAMPLES / "digits.keras").read_bytes())
    listing = shared_session.open(str(path))
    (finding,) = [f for f in listing.findings if f.severity != "info"]
    assert (finding.code, finding.severity) == ("not-a-model", "warning")
    assert finding.evidence["looks_like"] == ".keras archive"
    assert finding.evidence["tensorflow_says"] == SAYS
    whole = shared_session.open(str(SAMPLES / "digits.keras"))
    assert [t.name for t in listing.tensors] == [t.name for t in whole.tensors]
