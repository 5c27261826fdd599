"""Results kept for the next look at the same files: equal to the digit, and never told of other files."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui import commands, recall
from ckptui.checking import check
from ckptui.config import Settings
from ckptui.core.model import Finding, Found, TensorScan
from ckptui.engine import identity, store
from ckptui.engine.pool import Pool
from ckptui.session import Session
from ckptui.ui import jobs, messages
from ckptui.ui.ledger import SaveRecord
from tests.places import ROOT, SAMPLES, needs_samples
from tests.readers.make_bundle import write_bundle

SAVES = [
    "digits/ckpt-5", "digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model", "estimator/model.ckpt-300",
    "suspicious/untouched_layer.keras", "suspicious/mirror_symmetric.keras", "suspicious/dead_filters.keras",
    "broken/flipped_bit", "broken/zero_filled_tail", "broken/truncated_shard", "broken/truncated.h5",
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in which files that were written just now may be kept too."""
    monkeypatch.setenv("CKPTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(identity, "SETTLE_SECONDS", -60.0)
    return tmp_path / "cache" / "results"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each op was asked of a reader child."""
    counted: Counter[str] = Counter()
    call = Pool.call

    def counting(self: Pool, op: str, args: Any, **more: Any) -> Any:
        counted[op] += 1
        return call(self, op, args, **more)

    monkeypatch.setattr(Pool, "call", counting)
    return counted


def values() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    odd = rng.normal(size=300).astype(np.float32)
    odd[[3, 5, 7]] = np.nan, np.inf, -np.inf
    return {
        "a/kernel": rng.normal(size=(3, 3, 4, 8)).astype(np.float32),
        "b/huge": np.array([1e308, 1e308, -1e308]),
        "c/odd": odd,
        "d/counter": np.array([2**63 - 1, -(2**63)], np.int64),
        "e/words": [b"one", b""],
        "f/empty": np.zeros((0, 3), np.float32),
        "g/näme\t\n": np.arange(3, dtype=np.float64),
    }


def data_file(prefix: str) -> Path:
    return Path(prefix + ".data-00000-of-00001")


def saved(folder: Path, **more: Any) -> str:
    folder.mkdir(exist_ok=True)
    return write_bundle(folder / "ckpt-1", {**values(), **more})


def document(path: str, **options: Any) -> str:
    return json.dumps(commands.stats(path, None, **options).document(), sort_keys=False)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


# ---------------------------------------------------------------------- coming back


def sample(name: str) -> str:
    place = SAMPLES / name
    prefixes = [str(p)[: -len(".index")] for p in place.glob("*.index")] if place.is_dir() else []
    return prefixes[0] if prefixes else str(place)


@needs_samples
@pytest.mark.parametrize("name", SAVES)
def test_statistics_come_back_equal_to_the_digit_without_a_scan(name: str, asked: Counter[str]) -> None:
    path = sample(name)
    first = document(path)
    assert document(path, cache=False) == first
    asked.clear()
    assert document(path) == first
    assert not asked["scan"]
    assert not asked["causes"]


@needs_samples
@pytest.mark.parametrize("name", ["digits/ckpt-5", "suspicious/mirror_symmetric.keras", "broken/flipped_bit"])
def test_filters_come_back_equal_to_the_digit_without_a_look(name: str, asked: Counter[str]) -> None:
    path = sample(name)
    first = json.dumps(commands.filters(path, None).document())
    assert asked["layers"]
    asked.clear()
    assert json.dumps(commands.filters(path, None).document()) == first
    assert not asked["scan"] + asked["layers"]
    commands.stats(path, None)
    asked.clear()
    assert json.dumps(commands.filters(path, None).document()) == first
    assert not asked["scan"] + asked["layers"]


def test_numbers_that_are_not_finite_come_back_as_they_were(tmp_path: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    with Session() as session:
        listing = session.open(path)
        first = [i for i in session.scan(listing) if isinstance(i, (TensorScan, Finding))]
        asked.clear()
        again = [i for i in session.scan(listing) if isinstance(i, (TensorScan, Finding))]
        assert session.kept_since(listing) is not None
    assert not asked["scan"]
    by_name = {i.name: i for i in first if isinstance(i, TensorScan)}
    assert {i.name: i for i in again if isinstance(i, TensorScan)} == by_name
    assert by_name["b/huge"].stats is not None
    assert by_name["b/huge"].stats.l2 == np.inf or by_name["b/huge"].stats.l2 > 1e308  # type: ignore[operator]
    assert by_name["d/counter"].stats is not None
    assert by_name["d/counter"].stats.max == 2**63 - 1


def after_check(session: Session, path: str, *, anew: bool) -> SaveRecord:
    """A save as the screen knows it after a check."""
    found: Found = session.resolve(path)
    listing = session.open(found.path, found=found)
    record = SaveRecord(found)
    record.opened(listing.findings)

    def post(message: object) -> None:
        if isinstance(message, messages.Scanned):
            record.scans.update((scan.name, scan) for scan in message.scans)
            record.learn(message.findings)
        elif isinstance(message, messages.ScanEnded) and message.complete:
            record.read, record.kept_since = True, message.kept_since

    jobs.check_save(session, listing, post, threading.Event(), (), anew=anew)
    assert record.read
    return record


@needs_samples
@pytest.mark.parametrize("name", SAVES[:-1])
def test_the_screen_shows_a_save_as_after_a_full_check(name: str, asked: Counter[str]) -> None:
    with Session() as session:
        first = after_check(session, sample(name), anew=True)
    asked.clear()
    with Session() as session:
        again = after_check(session, sample(name), anew=False)
    assert not asked["scan"] + asked["layers"] + asked["verify"] + asked["causes"]
    assert first.kept_since is None
    assert again.kept_since is not None
    assert (again.badge, again.flags, again.counts) == (first.badge, first.flags, first.counts)
    assert again.scans == first.scans
    told = [sorted(json.dumps(f.to_json()) for f in record.findings) for record in (first, again)]
    assert told[0] == told[1]


def test_one_tensor_is_told_from_what_the_whole_scan_left(tmp_path: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    commands.stats(path, None)
    asked.clear()
    one = commands.stats(path, "a/kernel").document()
    assert not asked["scan"]
    assert one["tensors"] == commands.stats(path, "a/kernel", cache=False).document()["tensors"]


def test_single_layers_are_kept_one_by_one(tmp_path: Path, asked: Counter[str], cache: Path) -> None:
    kernels = {f"conv{n}/kernel": np.random.default_rng(n).normal(size=(3, 3, 2, 4)).astype("f") for n in range(40)}
    path = saved(tmp_path / "save", **kernels)
    with Session() as session:
        listing = session.open(path)
        for name in kernels:
            next(iter(session.layers(listing, [name])))
        asked.clear()
        layers = list(session.layers(listing, list(kernels)))
    assert not asked["layers"]
    assert [getattr(layer, "tensor", "") for layer in layers if not isinstance(layer, Finding)] == sorted(kernels)
    assert len(files(cache)) == 1


def test_a_session_knows_what_was_kept_of_a_whole_save(tmp_path: Path) -> None:
    path = saved(tmp_path / "save")
    with Session() as session:
        listing = session.open(path)
        assert not session.remembers(listing)
        list(session.scan(listing, ["a/kernel"]))
        assert not session.remembers(listing)
        list(session.scan(listing))
        assert session.remembers(listing)
        assert session.kept_since(listing) is None
    with Session(cache=False) as session:
        assert not session.remembers(session.open(path))


# ---------------------------------------------------------------------- other files


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def rewritten(path: Path) -> None:
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    times = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def touched(path: Path) -> None:
    os.utime(path)


CHANGES = [appended, rewritten, replaced, touched]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", [".data-00000-of-00002", ".data-00001-of-00002", ".index"])
def test_a_change_of_any_file_makes_a_new_scan(
    change: Callable[[Path], None], suffix: str, tmp_path: Path, asked: Counter[str]
) -> None:
    (tmp_path / "save").mkdir()
    path = write_bundle(tmp_path / "save" / "ckpt-1", values(), shards=2)
    document(path)
    time.sleep(0.01)
    change(Path(path + suffix))
    asked.clear()
    now = document(path)
    assert asked["scan"] or suffix == ".index"
    assert now == document(path, cache=False)


def test_why_a_checksum_is_wrong_is_asked_again_when_the_folder_changes(tmp_path: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    rewritten(data_file(path))
    assert "checksum-mismatch" in document(path)
    asked.clear()
    document(path)
    assert not asked["scan"]
    shutil.copy(path + ".index", tmp_path / "save" / "ckpt-2.index")
    document(path)
    assert asked["scan"]


def test_other_code_makes_a_new_scan(tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "save")
    document(path)
    asked.clear()
    monkeypatch.setattr(recall, "code_stamp", lambda: "another")
    document(path)
    assert asked["scan"]


def test_the_same_path_from_another_folder_is_another_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write_bundle(tmp_path / name / "x", values())
        monkeypatch.chdir(tmp_path / name)
        document("x")
    assert len(files(cache)) == 2


# ---------------------------------------------------------------------- what is not kept


def test_a_file_that_changed_just_now_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, asked: Counter[str]
) -> None:
    monkeypatch.setattr(identity, "SETTLE_SECONDS", 2.0)
    path = saved(tmp_path / "save")
    old = time.time() - 3600
    os.utime(data_file(path), (old, old))
    document(path)
    assert files(cache) == []
    asked.clear()
    document(path)
    assert asked["scan"]


def test_a_stopped_scan_is_not_kept(tmp_path: Path, cache: Path) -> None:
    path = saved(tmp_path / "save", **{f"more/{n}": np.zeros(9) for n in range(50)})
    with Session() as session:
        listing = session.open(path)
        cancel = threading.Event()
        for _ in session.scan(listing, cancel=cancel):
            cancel.set()
        assert files(cache) == []
        for item in session.scan(listing):
            if isinstance(item, TensorScan):
                break
    assert files(cache) == []


def test_a_stopped_check_leaves_what_was_kept(tmp_path: Path, cache: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    document(path)
    with Session() as session:
        cancel = threading.Event()
        cancel.set()
        assert not [i for i in session.scan(session.open(path), cancel=cancel, anew=True) if isinstance(i, TensorScan)]
    asked.clear()
    document(path)
    assert not asked["scan"]


def test_a_file_written_to_during_the_scan_is_not_kept(tmp_path: Path, cache: Path) -> None:
    path = saved(tmp_path / "save")
    with Session() as session:
        listing = session.open(path)
        scan = session.scan(listing)
        next(scan)
        appended(data_file(path))
        list(scan)
    assert files(cache) == []


@pytest.mark.parametrize("code", ["changed-while-reading", "reader-crashed"])
def test_a_disturbed_scan_is_not_kept(code: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "save")

    def disturbed(pool: Any, listing: Any, names: Any, **more: Any) -> Iterator[TensorScan]:
        told = (Finding(code, "warning", "disturbed", tensor="a/kernel"),)
        yield from (TensorScan(t.name, None, "unread", told) for t in listing.tensors)

    monkeypatch.setattr("ckptui.scanning.scan_anew", disturbed)
    with Session() as session:
        listing = session.open(path)
        assert len(list(session.scan(listing))) == len(listing.tensors)
    assert files(cache) == []


def test_no_cache_neither_reads_nor_writes(tmp_path: Path, cache: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    command = [sys.executable, "-m", "ckptui", "stats", path, "--json", "--fail-on", "never"]
    off = subprocess.run([*command, "--no-cache"], capture_output=True, cwd=ROOT, check=True, timeout=60)
    assert files(cache) == []
    first = document(path)
    assert json.loads(off.stdout) == json.loads(first)
    (kept,) = files(cache)
    stamp = kept.stat()
    asked.clear()
    assert document(path, cache=False) == first
    commands.filters(path, None, cache=False)
    assert asked["scan"] == 2
    assert asked["layers"]
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)


def test_the_settings_may_say_so_too(tmp_path: Path, cache: Path) -> None:
    path = saved(tmp_path / "save")
    for settings in (Settings(cache=False), Settings(cache_bytes=0)):
        with Session(settings=settings) as session:
            assert list(session.scan(session.open(path)))
            assert list(session.layers(session.open(path)))
    assert files(cache) == []


# ---------------------------------------------------------------------- check reads anew


def test_check_reads_anew_and_forgets_what_the_bytes_do_not_bear_out(
    tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "save")
    fixed = identity.Identity("the same", 1.0)
    monkeypatch.setattr(recall, "identity_of", lambda listing: fixed)
    whole = document(path)
    check([path], quick=False)
    asked.clear()
    assert document(path) == whole
    assert not asked["scan"], "a check that bears it out leaves it"
    rewritten(data_file(path))
    assert document(path) == whole, "a rotten disk changes no time"
    found = check([path], quick=False)
    assert "checksum-mismatch" in {f.code for f in found.findings}
    assert "checksum-mismatch" in document(path)


def test_a_check_of_the_screen_reads_anew_and_is_kept(tmp_path: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    with Session() as session:
        for _ in range(2):
            asked.clear()
            assert after_check(session, path, anew=True).kept_since is None
            assert asked["scan"]
            assert asked["layers"]
        asked.clear()
        assert after_check(session, path, anew=False).kept_since is not None
        assert not asked["scan"] + asked["layers"]


# ---------------------------------------------------------------------- the folder


def test_files_are_the_users_alone(tmp_path: Path, cache: Path) -> None:
    document(saved(tmp_path / "save"))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [f.stat().st_mode & 0o777 for f in files(cache)] == [0o600]


def damaged(kind: str, file: Path) -> None:
    good = file.read_bytes()
    raw = gzip.decompress(good)
    if kind == "cut":
        file.write_bytes(good[: len(good) // 2])
    elif kind == "flipped":
        file.write_bytes(good[:60] + bytes([good[60] ^ 4]) + good[61:])
    elif kind == "noise":
        file.write_bytes(os.urandom(4000))
    elif kind == "bomb":
        file.write_bytes(gzip.compress(raw + b" " * (store.MAX_RAW + 1), 9))
    elif kind == "members":
        file.write_bytes(good + gzip.compress(b"") * 10_000)
    elif kind == "other words":
        file.write_bytes(gzip.compress(raw.replace(b'"TensorScan"', b'"Listing"')))
    elif kind == "deep":
        head, _, rest = raw.partition(b"\n")
        deep = b"[" * 100_000
        lines = [line.rsplit(b"\t", 1)[0] + b"\t" + deep for line in rest.splitlines()[:3]]
        file.write_bytes(gzip.compress(b"\n".join([head, *lines])))
    elif kind == "missing lines":
        file.write_bytes(gzip.compress(b"\n".join(raw.splitlines()[:3]) + b"\n"))
    elif kind == "other types":
        file.write_bytes(gzip.compress(raw.replace(b'"at":', b'"at":null,"was":')))
    else:
        file.unlink()
        if kind == "link":
            file.symlink_to("/dev/zero")
        elif kind == "fifo":
            os.mkfifo(file)
        else:
            file.mkdir()


KINDS = ["cut", "flipped", "noise", "bomb", "members", "deep", "link", "fifo", "folder"]


@pytest.mark.parametrize("kind", [*KINDS, "other words", "missing lines", "other types"])
def test_what_is_no_result_of_ours_is_ignored_and_replaced(
    kind: str, tmp_path: Path, cache: Path, asked: Counter[str]
) -> None:
    path = saved(tmp_path / "save")
    first = document(path)
    (file,) = files(cache)
    damaged(kind, file)
    asked.clear()
    assert document(path) == first
    assert asked["scan"]
    if kind != "folder":
        asked.clear()
        assert document(path) == first
        assert not asked["scan"]


def test_a_file_that_another_could_write_is_ignored(tmp_path: Path, cache: Path, asked: Counter[str]) -> None:
    path = saved(tmp_path / "save")
    document(path)
    files(cache)[0].chmod(0o666)
    asked.clear()
    document(path)
    assert asked["scan"]


def test_a_folder_that_can_not_be_used_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "save")
    (tmp_path / "file").write_text("in the way")
    first = document(path, cache=False)
    for place in (tmp_path / "file" / "below", Path("/proc/self/none"), Path("/dev/null"), tmp_path / "file"):
        monkeypatch.setenv("CKPTUI_CACHE", str(place))
        assert document(path) == first
        assert document(path) == first


def test_a_full_disk_fails_no_command(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "save")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert document(path) == document(path, cache=False)
    assert files(cache) == []


def test_the_least_recently_used_go_first(tmp_path: Path, cache: Path, asked: Counter[str]) -> None:
    paths = [write_bundle(tmp_path / f"s{n}", values()) for n in range(6)]

    def look(path: str, room: int) -> None:
        with Session(settings=Settings(cache_bytes=room)) as session:
            list(session.scan(session.open(path)))

    look(paths[0], 1 << 20)
    size = files(cache)[0].stat().st_size
    room = size * 4 - size // 2
    for path in paths[1:3]:
        look(path, room)
        time.sleep(0.01)
    look(paths[0], room)
    time.sleep(0.01)
    for path in paths[3:]:
        look(path, room)
        time.sleep(0.01)
        assert sum(f.stat().st_size for f in files(cache)) <= room
    asked.clear()
    look(paths[0], room)
    assert asked["scan"], "used again before three others came"
    for path in paths[4:]:
        asked.clear()
        look(path, room)
        assert not asked["scan"]
    look(paths[0], size // 2)
    assert sum(f.stat().st_size for f in files(cache)) <= room


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, cache: Path) -> None:
    document(saved(tmp_path / "save"))
    left, fresh = cache / ".old.part", cache / ".new.part"
    for file in (left, fresh):
        file.write_bytes(b"half")
    os.utime(left, (0, 0))
    document(write_bundle(tmp_path / "other", values()))
    assert not left.exists()
    assert fresh.exists()


WRITER = """
import sys
from pathlib import Path
from ckptui.engine.store import Store
store = Store(Path(sys.argv[1]), 1 << 20)
for n in range(300):
    store.write("key", {("head", ""): b"1", ("stats", "x"): (sys.argv[2] * 2000).encode()}, behind=n % 3 == 2)
    found = store.read("key")
    assert found is not None
    assert set(found) == {("head", ""), ("stats", "x")}
    assert len(set(found["stats", "x"])) == 1
"""


def test_two_processes_may_write_the_same_save(tmp_path: Path, cache: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", WRITER, str(cache), sign], env=env) for sign in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [file.name for file in files(cache)] == ["key" + store.SUFFIX]


def test_two_sessions_over_one_save_agree(tmp_path: Path) -> None:
    path = saved(tmp_path / "save")
    command = [sys.executable, "-m", "ckptui", "stats", path, "--json", "--fail-on", "never"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    out = [process.communicate(timeout=60)[0] for process in both]
    assert json.loads(out[0]) == json.loads(out[1]) == json.loads(document(path))
