"""What a salvage must not vouch for: bytes that a checksum over more than one tensor speaks against."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckptui.cli import run
from ckptui.readers.keras_archive import open_archive
from tests.places import SAMPLES, needs_samples

pytestmark = needs_samples


def salvaged(
    capsys: pytest.CaptureFixture[str], source: Path, target: Path, *options: str
) -> tuple[int, dict[str, str]]:
    """The exit code, and each tensor's outcome."""
    code = run(["salvage", str(source), "-o", str(target), "--json", *options])
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
    assert {"unverified", "repairable", "lost"} & set(outcomes.values())
    assert run(["export", str(SAMPLES / "digits.keras"), "-o", str(tmp_path / "good.npz")]) == 0
    capsys.readouterr()
    back, good = np.load(tmp_path / "out" / "m.npz"), np.load(tmp_path / "good.npz")
    recovered = [name for name, outcome in outcomes.items() if outcome == "recovered"]
    assert [name for name in recovered if back[name].tobytes() != good[name].tobytes()] == []


def archive_with(change: Callable[[bytearray, int], None], folder: Path) -> tuple[Path, str]:
    """An archive changed in the middle of the values of its largest tensor, and that tensor's name."""
    folder.mkdir()
    with open_archive(SAMPLES / "digits.keras") as opened:
        tensor = max(opened.listing().tensors, key=lambda t: t.bytes)
    segment = tensor.storage.segment
    assert segment is not None
    content = bytearray((SAMPLES / "digits.keras").read_bytes())
    change(content, segment.offset + segment.bytes // 2)
    path = folder / "m.keras"
    path.write_bytes(bytes(content))
    return path, tensor.name


@pytest.mark.parametrize("target", ["m.npz", "m.weights.h5", "m"])
def test_a_flipped_bit_in_an_archive_is_turned_back_only_when_asked(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def flip(content: bytearray, at: int) -> None:
        content[at] ^= 8

    path, name = archive_with(flip, tmp_path / "in")
    (tmp_path / "out").mkdir()
    code, outcomes = salvaged(capsys, path, tmp_path / "out" / target)
    assert (code, outcomes.pop(name), set(outcomes.values())) == (1, "repairable", {"recovered"})
    (tmp_path / "mended").mkdir()
    code, outcomes = salvaged(capsys, path, tmp_path / "mended" / target, "--repair-bits")
    assert (code, outcomes[name]) == (1, "repaired")
    mended = tmp_path / "mended" / target
    if target != "m.npz":
        assert run(["export", str(mended), "-o", str(tmp_path / "mended.npz")]) == 0
        mended = tmp_path / "mended.npz"
    assert run(["export", str(SAMPLES / "digits.keras"), "-o", str(tmp_path / "good.npz")]) == 0
    back, good = np.load(mended), np.load(tmp_path / "good.npz")
    assert [key for key in good.files if good[key].tobytes() != back[key].tobytes()] == []


def test_lost_sectors_of_an_archive_cost_their_tensor_and_vouch_for_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(content: bytearray, at: int) -> None:
        first = at // 512 * 512
        content[first : first + 1024] = bytes(1024)

    path, name = archive_with(lose, tmp_path / "in")
    (tmp_path / "out").mkdir()
    code, outcomes = salvaged(capsys, path, tmp_path / "out" / "m.npz")
    assert (code, outcomes.pop(name), set(outcomes.values())) == (1, "lost", {"unverified"})
    assert run(["check", str(path), "--json"]) == 1
    (finding,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["severity"] == "error"]
    facts = finding["evidence"]
    assert (finding["code"], finding["tensor"], facts["member"]) == ("zero-filled", name, "model.weights.h5")
    assert facts["zero_run"]["bytes"] == 1024
    assert facts["zero_run"]["offset"] % 512 == 0
    assert facts["tensorflow_says"] == "Bad CRC-32 for file 'model.weights.h5'"


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
