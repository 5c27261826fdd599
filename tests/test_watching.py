"""A run is watched while something writes it: nothing half written is told, nothing whole is missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.core.model import Found, Watched
from ckptui.errors import CkptuiError
from ckptui.readers import folder_events, folder_watch, watched_folder
from ckptui.readers.discover import discover
from ckptui.readers.leftovers import RUNNING
from ckptui.session import Session
from ckptui.watching import GONE, SETTLE, Watcher, watch
from tests.readers.saves import HDF5, KERAS_H5, checkpoint, keras_zip, saved_model, state, table

MOMENT = max(SETTLE, GONE) + 0.1


class Steps:
    """A watcher whose clock the test turns; no time passes."""

    def __init__(self, *paths: str | Path, known: list[Found] | None = None) -> None:
        self.watcher = Watcher([str(path) for path in paths], threading.Event(), known, polling=True)
        self.first = self.watcher.begin()
        self.now = time.monotonic()

    def after(self, seconds: float) -> Watched:
        """What is told of what happened, when so much time has passed since."""
        told = [self._look(0.5), self._look(seconds), self._look(0.5), self._look(0.5)]
        news = [item for item in told if item is not None]
        return Watched(
            tuple(found for item in news for found in item.appeared),
            tuple(found for item in news for found in item.changed),
            tuple(path for item in news for path in item.gone),
            tuple(run for item in news for run in item.runs),
            tuple(finding for item in news for finding in item.findings),
        )

    def glance(self) -> Watched | None:
        """What half a second brings."""
        return self._look(0.5)

    def _look(self, seconds: float) -> Watched | None:
        self.now += max(seconds, 0.5)
        self.watcher.check()
        return self.watcher.step(self.now)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.watcher.close()


def names(found: tuple[Found, ...]) -> list[str]:
    return [item.label for item in found]


def gone(news: Watched) -> list[str]:
    return [os.path.basename(path) for path in news.gone]


# ---------------------------------------------------------------------- what is told


def test_nothing_happens_nothing_is_told(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    state(tmp_path, "ckpt-1")
    with Steps(tmp_path) as steps:
        assert steps.first is None
        assert steps.after(MOMENT) == Watched()
        assert steps.after(1000) == Watched()


def test_a_new_save_extends_its_run_and_a_rotated_one_leaves_it(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / f"ckpt-{step}")
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    with Steps(tmp_path) as steps:
        checkpoint(tmp_path / "ckpt-3")
        state(tmp_path, "ckpt-3", ["ckpt-2", "ckpt-3"])
        for path in tmp_path.glob("ckpt-1.*"):
            path.unlink()
        news = steps.after(MOMENT)
        assert (names(news.appeared), names(news.changed), gone(news)) == (["ckpt-3"], [], ["ckpt-1"])
        assert news.appeared[0].latest
        assert news.appeared[0].step == 3
        (run,) = news.runs
        assert [os.path.basename(path) for path in run.saves] == ["ckpt-2", "ckpt-3"]
        assert news.appeared[0].run == run.path == str(tmp_path)
        assert steps.after(MOMENT) == Watched()


def test_a_save_written_anew_is_told_as_changed_once(tmp_path: Path) -> None:
    keras_zip(tmp_path / "latest.keras")
    with Steps(tmp_path) as steps:
        (tmp_path / "latest.keras").write_bytes(b"")
        assert steps.after(MOMENT) == Watched(), "cut to nothing to be written again"
        keras_zip(tmp_path / "latest.keras", "config.json", "metadata.json", "model.weights.h5", "more")
        news = steps.after(MOMENT)
        assert (names(news.appeared), names(news.changed), gone(news)) == ([], ["latest.keras"], [])
        assert steps.after(MOMENT) == Watched()


def test_a_save_replaced_through_a_rename_is_never_gone(tmp_path: Path) -> None:
    path = tmp_path / "latest.weights.h5"
    path.write_bytes(KERAS_H5)
    with Steps(tmp_path) as steps:
        path.unlink()
        assert steps.glance() is None
        path.write_bytes(KERAS_H5 + b"more")
        news = steps.after(MOMENT)
        assert (names(news.changed), gone(news)) == (["latest.weights.h5"], [])


def half_data(path: Path) -> None:
    (path / "ckpt-2_temp").mkdir()
    (path / "ckpt-2_temp" / "part-00000-of-00001.data-00000-of-00001.tempstate7").write_bytes(b"x")


def half_index(path: Path) -> None:
    (path / "ckpt-2.data-00000-of-00001").write_bytes(b"x")
    (path / "ckpt-2.index").write_bytes(table()[:-20])


def not_cleaned(path: Path) -> None:
    checkpoint(path / "ckpt-2")
    (path / "ckpt-2_temp").mkdir()
    (path / "ckpt-2_temp" / "part-00000-of-00001.index").write_bytes(table())


def one_shard_of_two(path: Path) -> None:
    checkpoint(path / "ckpt-2", 2)
    (path / "ckpt-2.data-00001-of-00002").unlink()


def half_export(path: Path) -> None:
    saved_model(path / "1700000000", variables=False)
    (path / "1700000000" / "variables").mkdir()
    (path / "1700000000" / "variables" / "variables.data-00000-of-00001").write_bytes(b"x")


HALVES: dict[str, Callable[[Path], object]] = {
    "data in a temporary folder": half_data,
    "data without an index": lambda p: (p / "ckpt-2.data-00000-of-00001").write_bytes(b"x"),
    "index in the writing": half_index,
    "index whole, temporary folder still there": not_cleaned,
    "one shard of two": one_shard_of_two,
    "index before its data": lambda p: (p / "ckpt-2.index").write_bytes(table()),
    "half a zip": lambda p: (p / "epoch_2.keras").write_bytes(b"PK\x03\x04" + b"x" * 500),
    "an empty file": lambda p: (p / "epoch_2.keras").write_bytes(b""),
    "a copy": lambda p: (p / "epoch_2.keras.part").write_bytes(b"PK\x03\x04"),
    "an export without its variables": half_export,
    "an export without its graph": lambda p: saved_model(p / "1700000000", graph=False),
    "zeros": lambda p: (p / "epoch_2.h5").write_bytes(b"\x00" * 4096),
}


@pytest.mark.parametrize("half", HALVES)
def test_no_half_save_is_told(tmp_path: Path, half: str) -> None:
    checkpoint(tmp_path / "ckpt-1")
    with Steps(tmp_path) as steps:
        HALVES[half](tmp_path)
        for _ in range(3):
            news = steps.after(MOMENT)
            assert (news.appeared, news.changed, news.gone) == ((), (), ())


def test_what_stays_half_for_two_minutes_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    with Steps(tmp_path) as steps:
        (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"x")
        assert steps.after(RUNNING - 10) == Watched()
        (found,) = steps.after(20).appeared
        assert [finding.code for finding in found.findings] == ["index-missing"]
        checkpoint(tmp_path / "ckpt-2")
        news = steps.after(MOMENT)
        assert names(news.appeared) == ["ckpt-2"], "complete only now"
        assert news.appeared[0].findings == ()


def test_a_save_that_grows_is_told_when_it_settles(tmp_path: Path) -> None:
    with Steps(tmp_path) as steps:
        for size in range(5):
            (tmp_path / "epoch_1.h5").write_bytes(HDF5 + b"x" * size)
            assert steps.glance() is None
        assert names(steps.after(MOMENT).appeared) == ["epoch_1.h5"]


def test_hdf5_that_is_open_for_writing_is_not_told(tmp_path: Path) -> None:
    """A flushed file looks whole: the writer's lock, or the flag it sets, says that it is not done."""
    for version in ("earliest", "latest"):
        path = tmp_path / f"{version}.weights.h5"
        with Steps(tmp_path) as steps:
            with h5py.File(path, "w", libver=version) as file:
                file["layers/dense/vars/0"] = np.ones(100)
                file.flush()
                assert steps.after(MOMENT) == Watched()
                file["layers/dense/vars/1"] = np.ones(100)
            assert names(steps.after(MOMENT).appeared) == [path.name]


def test_folders_that_come_are_watched_and_those_that_go_are_told(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with Steps(tmp_path / "runs") as steps:
        (tmp_path / "runs" / "new" / "deep").mkdir(parents=True)
        assert steps.after(MOMENT) == Watched()
        checkpoint(tmp_path / "runs" / "new" / "deep" / "ckpt-1")
        assert names(steps.after(MOMENT).appeared) == ["ckpt-1"]
        shutil.rmtree(tmp_path / "runs" / "new")
        assert gone(steps.after(MOMENT)) == ["ckpt-1"]
        checkpoint(tmp_path / "runs" / "new" / "deep" / "ckpt-2")
        assert names(steps.after(MOMENT).appeared) == ["ckpt-2"]


def test_a_root_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    checkpoint(tmp_path / "run" / "ckpt-1")
    with Steps(tmp_path / "run") as steps:
        shutil.move(tmp_path / "run", tmp_path / "away")
        assert gone(steps.after(MOMENT)) == ["ckpt-1"]
        shutil.move(tmp_path / "away", tmp_path / "run")
        assert names(steps.after(MOMENT).appeared) == ["ckpt-1"]


def test_a_folder_that_loses_its_permissions_loses_no_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "ckpt-1")
    with Steps(tmp_path) as steps:
        with monkeypatch.context() as patch:

            def refused(path: str) -> None:
                raise PermissionError(13, "Permission denied", path)

            patch.setattr(watched_folder, "look_into", refused)
            checkpoint(tmp_path / "ckpt-2")
            assert steps.after(MOMENT) == Watched()
        (tmp_path / "touched").touch()
        assert names(steps.after(MOMENT).appeared) == ["ckpt-2"]


def test_exports_and_numbered_folders_extend_their_runs(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / "steps" / f"step_{step}" / "ckpt")
    saved_model(tmp_path / "export" / "1700000001")
    with Steps(tmp_path) as steps:
        (tmp_path / "steps" / "step_3").mkdir()
        assert steps.after(MOMENT).appeared == ()
        checkpoint(tmp_path / "steps" / "step_3" / "ckpt")
        saved_model(tmp_path / "export" / "temp")
        os.rename(tmp_path / "export" / "temp", tmp_path / "export" / "1700000002")
        news = steps.after(MOMENT)
        told = {found.path: found for found in news.appeared}
        assert set(told) == {str(tmp_path / "steps" / "step_3" / "ckpt"), str(tmp_path / "export" / "1700000002")}
        found = told[str(tmp_path / "steps" / "step_3" / "ckpt")]
        assert (found.step, found.run) == (3, str(tmp_path / "steps"))
        assert {run.label: len(run.saves) for run in news.runs} == {"steps": 3, "export": 2}
        saved_model(tmp_path / "export" / "1700000002")
        shutil.rmtree(tmp_path / "export" / "1700000001")
        news = steps.after(MOMENT)
        assert (names(news.changed), gone(news)) == (["1700000002"], ["1700000001"])


def test_what_the_caller_knows_is_compared_first(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / f"ckpt-{step}")
    known = [item for item in discover([tmp_path]) if isinstance(item, Found)]
    checkpoint(tmp_path / "ckpt-3")
    for path in tmp_path.glob("ckpt-1.*"):
        path.unlink()
    with Steps(tmp_path, known=known) as steps:
        news = steps.after(MOMENT)
    assert (names(news.appeared), names(news.changed), gone(news)) == (["ckpt-3"], [], ["ckpt-1"])


def test_one_save_or_one_run_of_a_folder(tmp_path: Path) -> None:
    for name in ("a-1", "a-2", "b-1", "b-2"):
        checkpoint(tmp_path / name)
    with Steps(tmp_path / "a-*") as run, Steps(tmp_path / "a-1") as save:
        checkpoint(tmp_path / "a-3")
        checkpoint(tmp_path / "b-3")
        (tmp_path / "a-1.data-00000-of-00001").write_bytes(b"another")
        news = run.after(MOMENT)
        assert (names(news.appeared), names(news.changed)) == (["a-3"], ["a-1"])
        news = save.after(MOMENT)
        assert (names(news.appeared), names(news.changed)) == ([], ["a-1"])


def test_a_thousand_saves_are_looked_at_in_a_moment(tmp_path: Path) -> None:
    for step in range(1000):
        checkpoint(tmp_path / f"ckpt-{step}")
    began = time.thread_time()
    view = watched_folder.look(str(tmp_path))
    spent = time.thread_time() - began
    print(f"{len(view.saves)} saves in {spent:.2f} s of the processor")
    assert all(len(stamps) == 2 for stamps in view.stamps.values())
    assert spent < 1.5, "each save's files are found by its prefix"


def test_too_many_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_watch, "MOST_FOLDERS", 3)
    for number in range(5):
        checkpoint(tmp_path / f"of{number}x" / "ckpt")
    with Steps(tmp_path) as steps:
        assert steps.first is not None
        (finding,) = steps.first.findings
        assert finding.severity == "info"


def test_nothing_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(CkptuiError):
        next(watch([tmp_path / "gone"], threading.Event()))


# ---------------------------------------------------------------------- the system's notices


@dataclass
class Listener:
    """A thread that watches."""

    paths: list[str]
    polling: bool = False
    cancel: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[float, Watched]] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for news in watch(self.paths, self.cancel, polling=self.polling):
            self.told.append((time.monotonic(), news))

    def wait_for(self, count: int, seconds: float) -> list[str]:
        """Labels of saves that appeared, when there are so many, or at the end of the time."""
        until = time.monotonic() + seconds
        while len(self.appeared) < count and time.monotonic() < until:
            time.sleep(0.05)
        return self.appeared

    @property
    def appeared(self) -> list[str]:
        return [found.label for _, news in self.told for found in news.appeared]

    def stop(self) -> float:
        """Seconds from the cancel to the end."""
        began = time.monotonic()
        self.cancel.set()
        self.thread.join(10)
        return time.monotonic() - began


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*paths: Path, polling: bool = False) -> Listener:
        listeners.append(Listener([str(path) for path in paths], polling))
        time.sleep(0.5)
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


def save_as_tensorflow_does(folder: Path, name: str, pause: float) -> None:
    """The states that a sharded save goes through on disk, with time to look at each."""
    part = "part-00000-of-00001"
    temporary = folder / f"{name}_temp"
    temporary.mkdir()
    growing = temporary / f"{part}.data-00000-of-00001.tempstate99"
    for _ in range(3):
        with growing.open("ab") as file:
            file.write(b"x" * 1000)
        time.sleep(pause)
    os.rename(growing, temporary / f"{part}.data-00000-of-00001")
    time.sleep(pause)
    (temporary / f"{part}.index.tempstate98").write_bytes(table())
    os.rename(temporary / f"{part}.index.tempstate98", temporary / f"{part}.index")
    time.sleep(pause)
    os.rename(temporary / f"{part}.data-00000-of-00001", folder / f"{name}.data-00000-of-00001")
    time.sleep(pause)
    with (folder / f"{name}.index").open("wb") as index:
        index.write(table()[:30])
        index.flush()
        time.sleep(pause)
        index.write(table()[30:])
    (temporary / f"{part}.index").unlink()
    temporary.rmdir()


def test_a_training_is_followed_live(tmp_path: Path, listen: Callable[..., Listener]) -> None:
    """Seven saves by two writers, each seen in all its states: told once, when whole, in time; logs cost no word."""
    run, epochs = tmp_path / "run", tmp_path / "epochs"
    checkpoint(run / "ckpt-0")
    state(run, "ckpt-0")
    epochs.mkdir()
    listener = listen(tmp_path)
    done: dict[str, float] = {}

    def checkpoints() -> None:
        for step in range(1, 5):
            save_as_tensorflow_does(run, f"ckpt-{step}", 0.06)
            done[f"ckpt-{step}"] = time.monotonic()
            state(run, f"ckpt-{step}", [f"ckpt-{step - 1}", f"ckpt-{step}"])
            for path in run.glob(f"ckpt-{step - 2}.*"):
                path.unlink()
            with (run / "events.out.tfevents.1.box").open("ab") as events:
                events.write(b"x")

    def files() -> None:
        for epoch in range(1, 4):
            with h5py.File(epochs / f"cp-{epoch}.weights.h5", "w") as file:
                for layer in range(5):
                    file[f"layers/dense_{layer}/vars/0"] = np.ones(2000)
                    file.flush()
                    time.sleep(0.1)
            done[f"cp-{epoch}.weights.h5"] = time.monotonic()

    writers = [threading.Thread(target=checkpoints), threading.Thread(target=files)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    # a rotated save may go before it was told
    listener.wait_for(5, 60)
    time.sleep(0.5)
    told = {label: at for at, news in listener.told for label in names(news.appeared)}
    early = [label for label, at in told.items() if at < done[label]]
    slowest = max(at - done[label] for label, at in told.items())
    print(f"{len(done)} saves written, {len(told)} told, {len(early)} too early, at most {slowest:.1f} s after")
    assert not early
    assert len(listener.appeared) == len(told), "each once"
    assert {"ckpt-3", "ckpt-4", "cp-1.weights.h5", "cp-2.weights.h5", "cp-3.weights.h5"} <= set(told)
    assert [found for _, news in listener.told for found in news.changed] == []
    assert "ckpt-0" in [os.path.basename(path) for _, news in listener.told for path in news.gone]
    last = [run for _, news in listener.told for run in news.runs if run.label == "run"][-1]
    assert [os.path.basename(path) for path in last.saves] == ["ckpt-3", "ckpt-4"]
    assert listener.stop() < 0.9


@pytest.mark.parametrize("polling", [False, True])
def test_watching_costs_next_to_nothing_and_ends_at_once(
    tmp_path: Path, listen: Callable[..., Listener], polling: bool
) -> None:
    for step in range(100):
        checkpoint(tmp_path / f"ckpt-{step}")
    listener = listen(tmp_path, polling=polling)
    before, began = time.thread_time(), time.process_time()
    time.sleep(0.8)
    spent = (time.process_time() - began) - (time.thread_time() - before)
    print(f"{spent / 0.8:.1%} of a core at rest, {'polling' if polling else 'with notices'}")
    assert spent / 0.8 < 0.1
    assert listener.told == []
    assert listener.stop() < 0.9


def test_without_notices_the_folders_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import watchfiles

    def exhausted(*paths: str, **options: object) -> Iterator[set[tuple[int, str]]]:
        raise OSError(28, "No space left on device: OS file watch limit reached")
        yield set()

    monkeypatch.setattr(watchfiles, "watch", exhausted)
    events = folder_events.FolderEvents([str(tmp_path)], threading.Event())
    assert events.polled == [str(tmp_path)]
    assert events.wait(0.05) == []
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert folder_events.FolderEvents([str(tmp_path)], threading.Event()).polled == [str(tmp_path)]


def test_network_mounts_are_told_from_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = [("/", "ext4"), ("/data", "nfs4"), ("/data/scratch", "xfs"), ("/home/me", "fuse.sshfs"), ("/mnt/c", "9p")]
    mounts += [("/disk", "fuseblk"), ("/with\\040space", "cifs")]
    text = "".join(f"server {point} {kind} rw 0 0\n" for point, kind in mounts)
    table_path = tmp_path / "mounts"
    table_path.write_text(text)
    monkeypatch.setattr(folder_events, "MOUNTS", str(table_path))
    found = folder_events.network_mounts()
    remote = {
        path
        for path in (
            "/tmp",
            "/data",
            "/data/run",
            "/data/scratch/run",
            "/database",
            "/home/me/x",
            "/mnt/c/y",
            "/disk/z",
        )
        if folder_events.on_network(path, found)
    }
    assert remote == {"/data", "/data/run", "/home/me/x", "/mnt/c/y"}
    assert folder_events.on_network("/with space/run", found)


def test_listing_saves_asks_for_no_watcher() -> None:
    code = (
        "import sys\nfrom ckptui.session import Session\nlist(Session().find(['.']))\n"
        "print(sorted({'watchfiles', 'anyio', 'ckptui.watching'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_session_watches(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    checkpoint(tmp_path / "ckpt-1")
    with Session(cache=False) as session:
        assert list(session.watch([str(tmp_path)], cancel)) == []
