"""Runs that somebody writes while they are checked: what only a moment shows is no damage."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui import rewriting
from ckptui.checking import check
from ckptui.core.model import RunFolder
from ckptui.readers import discover as discovery
from ckptui.readers import runs, state_file
from ckptui.readers.folder import read_folder
from ckptui.session import Session
from tests.damaged.bundles import SHARD
from tests.readers.make_bundle import write_bundle


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(check([str(path)], quick=False).document()))
    return found


def save(folder: Path, step: int) -> str:
    return write_bundle(folder / f"ckpt-{step}", {"kernel": np.arange(step, step + 4096, dtype=np.float32)})


def codes(done: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["code"], finding["severity"]) for finding in done["findings"]]


def between_looks(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> list[int]:
    """Do one of `steps` after each time a save is opened, the last one again and again; how often that was."""
    count = [0]
    real = Session.open

    def opened(self: Session, *args: Any, **more: Any) -> Any:
        try:
            return real(self, *args, **more)
        finally:
            step = steps[min(count[0], len(steps) - 1)]
            count[0] += 1
            step()

    monkeypatch.setattr(Session, "open", opened)
    monkeypatch.setattr(rewriting, "PAUSE", 0.05)
    return count


def test_an_index_that_is_being_written_when_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = save(tmp_path, 1)
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    index.write_bytes(b"")
    count = between_looks(monkeypatch, lambda: index.write_bytes(whole))
    done = document(tmp_path)
    assert codes(done) == []
    assert [artifact["status"] for artifact in done["artifacts"]] == ["ok"]
    assert (done["summary"]["artifacts"], done["summary"]["tensors_checked"], count) == (1, 1, [2])


def test_a_save_that_never_holds_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = save(tmp_path, 1)
    index = Path(f"{prefix}.index")
    index.write_bytes(b"")
    count = between_looks(monkeypatch, lambda: index.write_bytes(b""))
    done = document(tmp_path)
    assert (codes(done), count) == ([("changed-while-reading", "warning")], [3])
    assert done["artifacts"][0]["status"] == "warning"


def test_a_save_that_a_clean_up_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = save(tmp_path, 1)
    save(tmp_path, 2)

    def remove() -> None:
        for end in (".index", SHARD):
            Path(prefix + end).unlink(missing_ok=True)

    between_looks(monkeypatch, remove)
    assert set(codes(document(tmp_path))) <= {("changed-while-reading", "warning")}


def test_damage_that_holds_still_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = save(tmp_path, 1)
    Path(prefix + SHARD).write_bytes(Path(prefix + SHARD).read_bytes()[:-1])
    time.sleep(0.05)
    count = between_looks(monkeypatch, lambda: None)
    assert (codes(document(tmp_path)), count) == ([("shard-truncated", "error")], [1])


def test_a_state_file_that_names_a_save_written_after_the_folder_was_listed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "ckpt-2"\n')
    listed = read_folder(str(tmp_path))
    save(tmp_path, 2)
    runs = [item for item in discovery._visit(listed, {}) if isinstance(item, RunFolder)]
    assert [finding.code for run in runs for finding in run.findings] == []


def test_a_folder_that_goes_away_while_a_tree_is_walked_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "ckpt-2_temp").mkdir()
    found = []
    for item in discovery.discover([str(tmp_path)]):
        shutil.rmtree(tmp_path / "ckpt-2_temp", ignore_errors=True)
        found.append(item)
    assert [getattr(item, "code", None) for item in found] == [None] * len(found)
    assert len(found) >= 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_save_that_came_and_went_since_the_folder_was_listed(
    goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    state = tmp_path / "checkpoint"
    state.write_text('model_checkpoint_path: "ckpt-4"\n')
    real = state_file.read_state

    def read(path: Any) -> Any:
        """As it was; a training that goes on has written and removed saves before anybody looks for them."""
        told = real(path)
        if goes_on:
            save(tmp_path, 9)
            state.write_text('model_checkpoint_path: "ckpt-9"\n')
        return told

    monkeypatch.setattr(runs, "read_state", read)
    told = [pair for pair in codes(document(tmp_path)) if pair[0] == "state-dangling"]
    assert told == ([] if goes_on else [("state-dangling", "error")])


def test_a_run_that_is_written_all_the_time_gives_no_damage(tmp_path: Path) -> None:
    stop = threading.Event()
    source = tmp_path / "source"
    source.mkdir()
    run = tmp_path / "run"
    run.mkdir()

    def train() -> None:
        """As CheckpointManager does it: below a temporary folder, renamed, merged in place, told, cleaned up."""
        step = 0
        while not stop.is_set():
            step += 1
            prefix = save(source, step)
            temporary = run / f"ckpt-{step}_temp"
            temporary.mkdir()
            part = temporary / "part-00000-of-00001"
            shutil.copy(prefix + SHARD, f"{part}{SHARD}")
            shutil.copy(prefix + ".index", f"{part}.index")
            os.rename(f"{part}{SHARD}", f"{run}/ckpt-{step}{SHARD}")
            shutil.copy(f"{part}.index", f"{run}/ckpt-{step}.index")
            shutil.rmtree(temporary)
            listed = "".join(f'all_model_checkpoint_paths: "ckpt-{n}"\n' for n in range(max(1, step - 2), step + 1))
            (run / "checkpoint.tmp").write_text(f'model_checkpoint_path: "ckpt-{step}"\n{listed}')
            os.rename(run / "checkpoint.tmp", run / "checkpoint")
            for end in (".index", SHARD):
                Path(f"{run}/ckpt-{step - 3}{end}").unlink(missing_ok=True)
            time.sleep(0.02)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        time.sleep(0.5)
        told = [pair for _ in range(6) for pair in codes(document(run))]
    finally:
        stop.set()
        thread.join()
    print(f"    6 checks of a run being written: {sorted(set(told))}")
    assert {severity for _, severity in told} <= {"warning", "info"}
