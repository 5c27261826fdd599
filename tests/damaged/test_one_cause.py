"""One damage, one cause, told once: what the whole command says about a save, and nothing besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

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
