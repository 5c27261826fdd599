"""Copies of exports with one thing done to them, and the one finding they deserve."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ckptui.core.model import Finding
from ckptui.readers.saved_model import SavedModel, open_saved_model

FLOAT, DT_STRING = 1, 7
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12992\n"

Change = Callable[[Path], object]


def copied(exports: Path, name: str, tmp_path: Path, change: Change) -> Path:
    """A copy of an export with one thing done to it."""
    folder = tmp_path / "export"
    shutil.copytree(exports / name, folder)
    change(folder)
    return folder


def pb(change: Callable[[bytes], bytes]) -> Change:
    """Do something to the bytes of the graph."""

    def apply(folder: Path) -> None:
        path = folder / "saved_model.pb"
        path.write_bytes(change(path.read_bytes()))

    return apply


def only(folder: Path, *, but: tuple[str, ...] = ("unsafe-op",)) -> Finding:
    """The one finding of a SavedModel, about that folder."""
    findings = [f for f in open_saved_model(folder).listing().findings if f.code not in but]
    assert len(findings) == 1, findings
    assert findings[0].artifact == str(folder)
    return findings[0]


def nothing(folder: Path) -> SavedModel:
    model = open_saved_model(folder)
    assert [f for f in model.listing().findings if f.code != "unsafe-op"] == []
    return model


def take_variables(other: str) -> Callable[[Path, Path], None]:
    def apply(folder: Path, exports: Path) -> None:
        shutil.rmtree(folder / "variables")
        shutil.copytree(exports / other / "variables", folder / "variables")

    return apply
