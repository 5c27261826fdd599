"""What a salvage must not vouch for: bytes that a checksum over more than one tensor speaks against."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptui.cli import run
from tests.places import SAMPLES, needs_samples

pytestmark = needs_samples


def salvaged(capsys: pytest.CaptureFixture[str], source: Path, target: Path) -> tuple[int, dict[str, str]]:
    """The exit code, and each tensor's outcome."""
    code = run(["salvage", str(source), "-o", str(target), "--json"])
    document = json.loads(capsys.readouterr().out)
    return code, {tensor["name"]: tensor["outcome"] for tensor in document.get("tensors", ())}


@pytest.mark.parametrize("place", range(20_000, 180_000, 20_000))
def test_what_is_called_recovered_of_an_archive_is_what_was_saved(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    content = bytearray((SAMPLES / "digits.keras").read_bytes())
    content[place % len(content)] ^= 16
    (tmp_path / "in" / "m.keras").write_bytes(bytes(content))
    _, outcomes = salvaged(capsys, tmp_path / "in" / "m.keras", tmp_path / "out" / "m.npz")
    assert "unverified" in outcomes.values() or "lost" in outcomes.values()
    assert run(["export", str(SAMPLES / "digits.keras"), "-o", str(tmp_path / "good.npz")]) == 0
    capsys.readouterr()
    back, good = np.load(tmp_path / "out" / "m.npz"), np.load(tmp_path / "good.npz")
    recovered = [name for name, outcome in outcomes.items() if outcome == "recovered"]
    assert [name for name in recovered if back[name].tobytes() != good[name].tobytes()] == []


def test_tensors_of_another_save_are_not_repaired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SAMPLES / "digits", tmp_path / "run")
    (tmp_path / "out").mkdir()
    shard = ".data-00000-of-00001"
    shutil.copy(tmp_path / "run" / f"ckpt-1{shard}", tmp_path / "run" / f"ckpt-3{shard}")
    code, outcomes = salvaged(capsys, tmp_path / "run" / "ckpt-3", tmp_path / "out" / "x")
    assert code == 1
    assert outcomes["save_counter/.ATTRIBUTES/VARIABLE_VALUE"] == "lost"
    assert "repairable" not in outcomes.values()


def test_nothing_but_another_saves_graph_is_no_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SAMPLES / "digits", tmp_path / "run")
    (tmp_path / "out").mkdir()
    os.truncate(tmp_path / "run" / "ckpt-5.data-00000-of-00001", 0)
    code, _ = salvaged(capsys, tmp_path / "run" / "ckpt-5", tmp_path / "out" / "x")
    assert code == 2
    assert list((tmp_path / "out").iterdir()) == []
