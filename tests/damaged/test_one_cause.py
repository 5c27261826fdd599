"""One damage, one cause, told once: what the whole command says about a save, and nothing besides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.checking import check
from ckptui.core.model import Progress
from ckptui.salvage.planning import plan
from ckptui.session import Session
from tests.damaged.bundles import SHARD
from tests.readers.make_bundle import Tiled, write_bundle


def document(*paths: Path | str) -> dict[str, Any]:
    """What `check --json` prints."""
    found: dict[str, Any] = json.loads(json.dumps(check([str(path) for path in paths], quick=False).document()))
    return found


def weights(seed: int, step: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    kernels = {f"layer{n}/kernel": draw.normal(0, 0.1, (40, 16)).astype(np.float32) for n in range(6)}
    return {**kernels, "step/.ATTRIBUTES/VARIABLE_VALUE": np.array(step, np.int64)}


def test_a_state_file_whose_saves_are_all_gone_is_one_finding(tmp_path: Path) -> None:
    listed = "".join(f'all_model_checkpoint_paths: "ckpt-{n}"\n' for n in range(1, 1801))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-1800"\n' + listed)
    [finding] = document(tmp_path)["findings"]
    assert (finding["code"], finding["severity"]) == ("state-dangling", "error")
    assert finding["evidence"]["latest"] == "ckpt-1800"
    assert finding["evidence"]["count"] == 1799
    assert finding["evidence"]["gone"][0] == "ckpt-1"


def salvage_findings(prefix: str) -> list[tuple[str, str | None]]:
    with Session() as session:
        [done] = [item for item in plan(session, prefix) if not isinstance(item, Progress)]
    return [(finding.code, finding.tensor) for finding in done.findings]


def test_a_salvage_tells_what_the_check_tells(tmp_path: Path) -> None:
    for name in ("tiles", "run"):
        (tmp_path / name).mkdir()
    tiles = Tiled(np.arange(600, dtype=np.float32).reshape(6, 100), [[(0, 3), (0, -1)], [(3, 3), (0, -1)]])
    flipped = Path(write_bundle(tmp_path / "tiles/ckpt-1", {"parts": tiles, "b": np.ones(3, np.float32)}) + SHARD)
    data = bytearray(flipped.read_bytes())
    data[700] ^= 8
    flipped.write_bytes(data)
    first = write_bundle(tmp_path / "run/ckpt-1", weights(1, 10))
    second = write_bundle(tmp_path / "run/ckpt-2", weights(2, 20))
    Path(second + SHARD).write_bytes(Path(first + SHARD).read_bytes())
    wanted = {str(tmp_path / "tiles/ckpt-1"): {"checksum-mismatch"}, second: {"index-data-mismatch"}}
    for prefix, codes in wanted.items():
        told = salvage_findings(prefix)
        assert len(told) == len(set(told))
        assert {code for code, _ in told} == codes
        assert set(told) == {(finding["code"], finding["tensor"]) for finding in document(prefix)["findings"]}


def shifted(tmp_path: Path, change: Callable[[bytes], bytes]) -> tuple[list[dict[str, Any]], int]:
    """All findings about a save whose data went through `change`, and the place of the third of its kernels."""
    prefix = write_bundle(tmp_path / "ckpt-1", weights(1, 10))
    place = 2 * 40 * 16 * 4
    Path(prefix + SHARD).write_bytes(change(Path(prefix + SHARD).read_bytes()))
    return document(prefix)["findings"], place


@pytest.mark.parametrize("lost", [1, 4, 512, 2048])
def test_bytes_lost_from_the_middle_are_no_text_copy(tmp_path: Path, lost: int) -> None:
    found, place = shifted(tmp_path, lambda data: data[:6000] + data[6000 + lost :])
    assert {finding["code"] for finding in found} == {"checksum-mismatch", "shard-truncated"}
    moved = [finding for finding in found if finding["code"] == "checksum-mismatch"]
    names = {*(f"layer{n}/kernel" for n in range(2, 6)), "step/.ATTRIBUTES/VARIABLE_VALUE"}
    assert sorted(finding["tensor"] for finding in found) == sorted(names)
    assert len(moved) >= 3
    end = place + (2560 if lost < 1680 else 5120)
    for finding in moved:
        assert finding["evidence"]["shift"] == {"bytes": -lost, "after": place, "before": end}
        assert f"{lost} bytes were lost" in finding["detail"]


@pytest.mark.parametrize("more", [1, 512])
def test_bytes_put_into_the_middle_are_told_from_bytes_at_the_end(tmp_path: Path, more: int) -> None:
    found, place = shifted(tmp_path, lambda data: data[:6000] + bytes(range(256))[-1:] * more + data[6000:])
    [about] = [finding for finding in found if finding["tensor"] is None]
    assert (about["code"], about["evidence"]["bytes_extra"]) == ("shard-oversized", more)
    assert about["evidence"]["shift"] == {"bytes": more, "after": place, "before": place + 2560}
    assert "TensorFlow ignores" not in about["advice"]
    rest = {finding["tensor"] for finding in found if finding is not about}
    assert rest == {*(f"layer{n}/kernel" for n in range(2, 6)), "step/.ATTRIBUTES/VARIABLE_VALUE"}
    assert {finding["code"] for finding in found if finding is not about} == {"checksum-mismatch"}


def test_one_carriage_return_that_was_taken_out_is_a_text_copy(tmp_path: Path) -> None:
    tensors = {name: value for name, value in weights(1, 20).items() if name != "layer5/kernel"}
    raw = bytearray(tensors["layer2/kernel"].tobytes())
    raw[1000:1002] = b"\r\n"
    tensors["layer2/kernel"] = np.frombuffer(bytes(raw), np.float32).reshape(40, 16)
    prefix = write_bundle(tmp_path / "ckpt-1", tensors)
    data = Path(prefix + SHARD).read_bytes()
    assert data.count(b"\r\n") == 1
    Path(prefix + SHARD).write_bytes(data.replace(b"\r\n", b"\n"))
    [about] = [finding for finding in document(prefix)["findings"] if finding["tensor"] is None]
    assert (about["code"], about["evidence"]["mangling"]) == ("not-a-model", "lf")


def test_a_file_cut_among_zeros_has_lost_nothing_before_them(tmp_path: Path) -> None:
    slots = {f"z/slot{n}": np.zeros(200, np.float32) for n in range(6)}
    prefix = write_bundle(tmp_path / "ckpt-1", {**weights(1, 10), **slots})
    Path(prefix + SHARD).write_bytes(Path(prefix + SHARD).read_bytes()[:-1300])
    found = document(prefix)["findings"]
    assert {(finding["code"], finding["tensor"]) for finding in found} == {
        ("shard-truncated", "z/slot4"),
        ("shard-truncated", "z/slot5"),
    }
    assert all("shift" not in finding["evidence"] for finding in found)


@pytest.mark.parametrize("kind", ["crlf", "another file"])
def test_numbers_made_of_other_bytes_are_not_judged(tmp_path: Path, kind: str) -> None:
    tensors = {f"layer{n}/kernel": np.full(500, 1e30 if n % 2 else -3e-5, np.float32) for n in range(6)}
    tensors["layer0/kernel"] = np.frombuffer(bytes(range(250)) * 8, np.float32)
    prefix = write_bundle(tmp_path / "ckpt-1", tensors)
    data = Path(prefix + SHARD).read_bytes()
    changed = data.replace(b"\n", b"\r\n") if kind == "crlf" else b"\xff" * len(data)
    Path(prefix + SHARD).write_bytes(changed)
    found = document(prefix)["findings"]
    assert "non-finite" not in {finding["code"] for finding in found}
    assert found


def test_shards_that_bear_each_others_names(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", {**weights(1, 10), "layer6/bias": np.ones(40, np.float32)}, shards=3)
    second, third = (Path(f"{prefix}.data-{n:05d}-of-00003") for n in (1, 2))
    content = second.read_bytes(), third.read_bytes()
    second.write_bytes(content[1])
    third.write_bytes(content[0])
    wrong = [finding for finding in document(prefix)["findings"] if finding["code"] == "checksum-mismatch"]
    assert {finding["evidence"]["same_as"] for finding in wrong} == {str(second), str(third)}
    for finding in wrong:
        assert finding["evidence"]["same_as"] != finding["evidence"]["file"]
        assert "each other's names" in finding["advice"]


@pytest.mark.parametrize("end", [".index", SHARD])
def test_a_copy_that_did_not_end_is_told_alike_by_path_and_by_folder(tmp_path: Path, end: str) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", weights(1, 10))
    Path(prefix + end).rename(tmp_path / f".ckpt-1{end}.Ab3xYz")
    left = SHARD if end == ".index" else ".index"
    told = [
        [(f["code"], f["severity"], f["artifact"], f["tensor"]) for f in document(path)["findings"]]
        for path in (tmp_path, prefix, prefix + left)
    ]
    assert told == [[("interrupted-save", "error", prefix, None)]] * 3
