"""`ckptui salvage` from outside: exit codes, the document, where it refuses to write, and what a crash leaves."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract import problems
from tests.damaged.salvaging import flip, state_of
from tests.places import ROOT, SAMPLES, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.test_cli import call

pytestmark = needs_samples


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A checkpoint with one bit flipped, in a folder of its own."""
    (tmp_path / "run").mkdir()
    for name in ("index", "data-00000-of-00001"):
        shutil.copy(SAMPLES / "broken" / "flipped_bit" / f"ckpt-2.{name}", tmp_path / "run")
    (tmp_path / "out").mkdir()
    return tmp_path / "run"


def salvage(run: Path, target: Path | str, *options: str, code: int) -> dict[str, Any]:
    before = state_of(run)
    answer = call("salvage", str(run / "ckpt-2"), "-o", str(target), *options, "--json", code=code)
    assert state_of(run) == before
    loaded: dict[str, Any] = json.loads(answer.stdout)
    assert not list(problems(loaded))
    return loaded


def test_the_document_and_the_report_are_the_same(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "rescued"
    doc = salvage(run, target, code=1)
    assert doc["schema"] == "ckptui/salvage/1"
    assert doc["output"] == str(target)
    assert doc["method"] == "index"
    assert doc["summary"] == {
        "recovered": 11, "repaired": 0, "repairable": 1, "unverified": 0, "lost": 0, "bytes": doc["summary"]["bytes"],
    }  # fmt: skip
    assert doc["summary"]["bytes"] == sum(t["bytes"] for t in doc["tensors"] if t["outcome"] == "recovered")
    assert sorted(doc["files"]) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    assert json.loads(Path(f"{target}.salvage.json").read_text()) == doc
    assert {f["code"] for f in doc["findings"]} == {"checksum-mismatch"}


def test_repaired_it_is_whole(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "rescued"
    doc = salvage(run, target, "--repair-bits", "--fail-on", "never", code=0)
    assert doc["summary"]["repaired"] == 1
    checked = json.loads(call("check", str(target), "--json", code=0).stdout)
    assert checked["findings"] == []
    good = (SAMPLES / "broken" / "flipped_bit" / "ckpt-2.data-00000-of-00001").read_bytes()
    mended = Path(f"{target}.data-00000-of-00001").read_bytes()
    assert sum((a ^ b).bit_count() for a, b in zip(good, mended, strict=True)) == 1


def test_the_text_says_what_to_do_next(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "rescued"
    done = call("salvage", str(run / "ckpt-2"), "-o", str(target), code=1)
    assert "11  every byte as it was written" in done.stdout
    assert "--repair-bits" in done.stdout
    assert f"tf.train.load_checkpoint({str(target)!r})" in done.stdout


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_arrays_by_suffix(run: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "out" / f"rescued{suffix}"
    doc = salvage(run, target, "--repair-bits", code=1)
    assert doc["files"] == [str(target), f"{target}.salvage.json"]
    written = {t["name"] for t in doc["tensors"] if t["outcome"] in ("recovered", "repaired")}
    if suffix == ".npz":
        assert {name for name in np.load(target).files if not name.endswith("//offsets")} == written
    else:
        size = int.from_bytes(target.read_bytes()[:8], "little")
        assert set(json.loads(target.read_bytes()[8 : 8 + size])) - {"__metadata__"} == written
        (graph,) = [t for t in doc["tensors"] if t["outcome"] == "lost"]
        assert "safetensors has no string" in graph["reason"]


def refused(run: Path, target: Path | str, words: str, artifact: str = "ckpt-2") -> None:
    """Exit 2 in one line, nothing read into, nothing written."""
    before = state_of(run.parent)
    done = call("salvage", str(run / artifact), "-o", str(target), code=2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert state_of(run.parent) == before


def test_never_beside_the_source(run: Path, tmp_path: Path) -> None:
    refused(run, run / "rescued", "lies in the folder of the save")
    (tmp_path / "link").symlink_to(run)
    refused(run, tmp_path / "link" / "rescued", "lies in the folder of the save")
    # files that are links: the folder they really lie in counts too
    (tmp_path / "linked").mkdir()
    for path in run.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    refused(tmp_path / "linked", run / "rescued", "lies in the folder of the save")
    refused(tmp_path / "linked", tmp_path / "linked" / "rescued.npz", "lies in the folder of the save")


def test_never_below_a_saved_model(tmp_path: Path) -> None:
    model = tmp_path / "models" / "digits"
    shutil.copytree(SAMPLES / "digits_saved_model", model)
    (model / "assets" / "deep").mkdir(parents=True)
    for place in (model, model / "variables", model / "assets", model / "assets" / "deep"):
        refused(tmp_path / "models", place / "rescued", "lies", "digits")


@pytest.mark.parametrize("taken", ["x.index", "x.data-00000-of-00004", "x.salvage.json"])
def test_never_over_anything(run: Path, tmp_path: Path, taken: str) -> None:
    (tmp_path / "out" / taken).write_text("mine")
    refused(run, tmp_path / "out" / "x", "exists")
    assert (tmp_path / "out" / taken).read_text() == "mine"


def test_targets_that_make_no_sense(run: Path, tmp_path: Path) -> None:
    refused(run, tmp_path / "out", "is a folder")
    refused(run, tmp_path / "nowhere" / "x", "does not exist")
    for name in ("x.index", "x.h5", "x.keras", "x.data-00000-of-00001", "x.npy"):
        refused(run, tmp_path / "out" / name, "nothing is written as")
    refused(run, tmp_path / "out" / "x.weights.h5", "can't become a .weights.h5")
    refused(run, tmp_path / "out" / "x", "No such file", artifact="ckpt-7")


@pytest.mark.parametrize("taken", ["--repair-bits", "-"])
def test_an_option_is_no_target(run: Path, tmp_path: Path, taken: str) -> None:
    refused(run, taken, "is no path")


def test_a_wrong_call_names_the_help_of_its_command(run: Path, tmp_path: Path) -> None:
    assert "`ckptui salvage --help`" in call("salvage", str(run / "ckpt-2"), code=2).stderr


def test_no_layout_is_asked_of_a_file_that_has_no_use_for_one(tmp_path: Path) -> None:
    told = call("salvage", str(SAMPLES / "broken" / "truncated.keras"), "-o", str(tmp_path / "a.npz"), code=1).stdout
    assert "what lost its entry lost its name too" in told
    assert "--layout" not in told


def test_what_a_weights_file_has_no_place_for_is_sent_elsewhere(tmp_path: Path) -> None:
    target = tmp_path / "a.weights.h5"
    told = call("salvage", str(SAMPLES / "digits.h5"), "-o", str(target), code=0).stdout
    assert "not written: Keras has no place for it" in told
    assert "of the lost can be read: -o FILE.npz" in told


def test_a_folder_that_takes_nothing(run: Path) -> None:
    """Nobody, root included, can make a file there."""
    refused(run, "/proc/self/rescued", "nothing can be written")


def test_nothing_recoverable_writes_nothing(run: Path, tmp_path: Path) -> None:
    data = run / "ckpt-2.data-00000-of-00001"
    data.write_bytes(bytes(data.stat().st_size))
    refused(run, tmp_path / "out" / "x", "nothing can be recovered")
    data.unlink()
    (run / "ckpt-2.index").write_bytes(b"")
    refused(run, tmp_path / "out" / "x", "ckpt-2")


def test_layout_is_for_checkpoints(run: Path, tmp_path: Path) -> None:
    done = call("salvage", str(SAMPLES / "digits.keras"), "-o", str(tmp_path / "out" / "x"), "--layout", "y", code=2)
    assert "no use for --layout" in done.stderr
    done = call(
        "salvage", str(run / "ckpt-2"), "-o", str(tmp_path / "out" / "x"), "--layout", str(run / "ckpt-2"), code=2
    )
    assert "is the save itself" in done.stderr


def large(tmp_path: Path) -> Path:
    """A checkpoint of 64 MB with a damaged footer."""
    (tmp_path / "large").mkdir()
    (tmp_path / "out").mkdir()
    block = np.random.default_rng(0).random((1 << 20,), "f4")
    prefix = write_bundle(tmp_path / "large" / "ckpt-2", {f"w{n}": block + n for n in range(16)})
    flip(f"{prefix}.index", Path(f"{prefix}.index").stat().st_size - 1, 0)
    return tmp_path / "large"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The limit on file size stands in for the disk: the write fails in the middle."""
    run = large(tmp_path)
    before = state_of(run)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))

    for target in ("x", "x.npz", "x.safetensors"):
        done = subprocess.run(
            [sys.executable, "-m", "ckptui", "salvage", str(run / "ckpt-2"), "-o", str(tmp_path / "out" / target)],
            cwd=ROOT, capture_output=True, text=True, preexec_fn=limited, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "Can't be written" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list((tmp_path / "out").iterdir())
    assert state_of(run) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_while_it_writes_there_is_no_half_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    run = large(tmp_path)
    target = tmp_path / "out" / "x"
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptui", "salvage", str(run / "ckpt-2"), "-o", str(target)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(p.stat().st_size for p in (tmp_path / "out").glob(".ckptui-*")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith("x")]
    if number != signal.SIGKILL:
        assert not list((tmp_path / "out").iterdir())
    # a second attempt is not in its own way
    assert call("salvage", str(run / "ckpt-2"), "-o", str(target), code=1)
    assert Path(f"{target}.index").exists()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A sparse gigabyte, checked and copied, in processes that never grow by it."""
    (tmp_path / "big").mkdir()
    (tmp_path / "out").mkdir()
    from crc32c import crc32c

    from ckptui.core.dtypes import NUMBERS
    from tests.readers.make_bundle import entry, header, table

    size = 1 << 30
    data = tmp_path / "big" / "ckpt-2.data-00000-of-00001"
    with data.open("wb") as file:
        file.truncate(size)
    crc, zeros = 0, bytes(1 << 24)
    for _ in range(size >> 24):
        crc = crc32c(zeros, crc)
    items = [(b"", header()), (b"w", entry(NUMBERS["float32"], (size // 4,), size=size, crc=crc))]
    (tmp_path / "big" / "ckpt-2.index").write_bytes(table(items)[:-1])
    script = (
        "import re, resource, sys; from ckptui.cli import run; run(sys.argv[1:]);"
        # its own peak from /proc: what getrusage tells begins with that of the process which started it
        "own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, "salvage", str(tmp_path / "big" / "ckpt-2"), "-o", str(tmp_path / "out" / "x")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(out.stdout.split()[-1]) < 300_000, out.stdout
    assert (tmp_path / "out" / "x.data-00000-of-00001").stat().st_size == size


def test_what_no_checksum_vouches_for_is_not_said_to_be_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    content = (SAMPLES / "digits.h5").read_bytes()
    (tmp_path / "in" / "m.h5").write_bytes(content[: len(content) * 3 // 4])
    done = subprocess.run(
        [sys.executable, "-m", "ckptui", "salvage", str(tmp_path / "in" / "m.h5"), "-o", str(tmp_path / "m.npz")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no checksum vouches for the values" in done.stdout
    assert "every byte as it was written" not in done.stdout
