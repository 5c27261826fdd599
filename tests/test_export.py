"""Exports hold every dtype's own bits under the tensor's own name, and are whole or not there."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptui import export
from ckptui.array_files import Written, refusal
from ckptui.core.model import Listing, Tensor
from ckptui.errors import UsageError
from ckptui.salvage import publishing
from ckptui.session import Session
from tests.places import ROOT
from tests.readers.make_bundle import Content, Tiled, strings, write_bundle

RANDOM = np.random.default_rng(0)
BITS = {1: "<u1", 2: "<u2"}


def values_of(name: str) -> np.ndarray[Any, Any]:
    """Six values of a dtype."""
    if name == "bool":
        return np.array([[True, False, True], [False, False, True]])
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    raw = RANDOM.integers(0, 4, (2, 3)) if "int2" in name or "int4" in name else RANDOM.normal(0, 2, (2, 3))
    return np.asarray(raw).astype(dtype)


PLAIN = (
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
    "bool", "complex64", "complex128",
)  # fmt: skip
EXTENDED = (
    "bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz",
    "int4", "uint4", "int2", "uint2", "float4_e2m1fn",
)  # fmt: skip
WORDS = [b"", b"ab", b"\xff\x00c"]


@pytest.fixture(scope="module")
def session() -> Any:
    with Session() as shared:
        yield shared


@pytest.fixture(scope="module", params=[False, True], ids=["little-endian", "big-endian"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A bundle with a tensor of every dtype, and what each holds."""
    held: dict[str, Any] = {f"plain/{name}": values_of(name) for name in PLAIN}
    held |= {f"extended/{name}": values_of(name) for name in EXTENDED}
    held["scalar"] = np.float32(1.5).reshape(())
    held["empty"] = np.zeros((0, 3), "f4")
    content: dict[str, Content] = dict(held)
    content["words"] = strings(WORDS)
    held["words"] = WORDS
    prefix = tmp_path_factory.mktemp("all") / "ckpt-1"
    write_bundle(prefix, content, big_endian=request.param)
    return str(prefix), held


def written(session: Session, prefix: str, target: Path, names: list[str] | None = None) -> Written:
    listing = session.open(prefix)
    chosen = [t for t in listing.tensors if names is None or t.name in names]
    return export.write_tensors(session, listing, chosen, str(target))


def test_an_npz_holds_every_dtype_bit_for_bit(
    session: Session, everything: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    prefix, held = everything
    written(session, prefix, tmp_path / "a.npz")
    loaded = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert set(loaded.files) == {*held, "words//offsets"}
    for name in PLAIN:
        assert loaded[f"plain/{name}"].dtype == np.dtype(name)
        assert np.array_equal(loaded[f"plain/{name}"], held[f"plain/{name}"])
    for name in EXTENDED:
        expected = held[f"extended/{name}"]
        got = loaded[f"extended/{name}"]
        assert got.dtype == np.dtype(BITS[expected.dtype.itemsize]), name
        assert got.tobytes() == expected.tobytes(), name
    assert loaded["scalar"].shape == ()
    assert loaded["scalar"] == 1.5
    assert loaded["empty"].shape == (0, 3)


def test_strings_are_bytes_and_offsets_without_pickle(
    session: Session, everything: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    written(session, everything[0], tmp_path / "a.npz")
    loaded = np.load(tmp_path / "a.npz", allow_pickle=False)
    raw, offsets = loaded["words"], loaded["words//offsets"]
    assert (raw.dtype, offsets.dtype) == (np.uint8, np.int64)
    pieces = [raw[a:b].tobytes() for a, b in itertools.pairwise(offsets)]
    assert pieces == WORDS


def test_safetensors_holds_what_it_can_and_names_the_rest(
    session: Session, everything: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    prefix, held = everything
    done = written(session, prefix, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    assert set(header) | {name for name, _ in done.left_out} == set(held)
    assert set(header).isdisjoint(name for name, _ in done.left_out)
    assert header["extended/bfloat16"]["dtype"] == "BF16"
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        assert tuple(entry["shape"]) == held[name].shape
        assert data[8 + length + start : 8 + length + end] == held[name].tobytes(), name


def test_safetensors_reads_it_back(session: Session, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    held = {"b": values_of("float32"), "a/ü": values_of("int64"), "s": np.float16(3).reshape(())}
    write_bundle(tmp_path / "c", dict(held))
    written(session, str(tmp_path / "c"), tmp_path / "a.safetensors")
    loaded = load_file(str(tmp_path / "a.safetensors"))
    assert set(loaded) == set(held)
    assert all(np.array_equal(loaded[name], held[name]) and loaded[name].dtype == held[name].dtype for name in held)


def test_a_sliced_tensor_comes_out_whole(session: Session, tmp_path: Path) -> None:
    whole = RANDOM.normal(size=(5, 4)).astype("f4")
    tiles = Tiled(whole, [[(0, 3), (0, 4)], [(3, 2), (0, 4)]])
    write_bundle(tmp_path / "c", {"part": tiles})
    written(session, str(tmp_path / "c"), tmp_path / "a.npy", ["part"])
    assert np.array_equal(np.load(tmp_path / "a.npy"), whole)


def test_big_endian_hdf5_comes_out_in_native_order(session: Session, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["w"] = np.arange(6, dtype=">f4").reshape(2, 3)
        file.create_dataset("z", data=np.arange(4, dtype=">i2"), chunks=(2,), compression="gzip")
    written(session, str(tmp_path / "a.h5"), tmp_path / "a.npz")
    loaded = np.load(tmp_path / "a.npz")
    assert loaded["w"].dtype == np.dtype("<f4")
    assert loaded["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["z"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "dtype", "suffix", "word"),
    [
        ("w", "variant", ".npz", "variant"),
        ("w", "#99", ".npz", "#99"),
        ("w", "compound", ".npy", "compound"),
        ("w", "string", ".npy", "strings"),
        ("w", "int4", ".safetensors", "int4"),
        ("__metadata__", "float32", ".safetensors", "keeps"),
        ("a\0b", "float32", ".npz", "name"),
        ("\udcff", "float32", ".npz", "name"),
        ("x" * 70_000, "float32", ".npz", "name"),
    ],
)
def test_what_a_format_can_not_hold_has_a_reason(name: str, dtype: str, suffix: str, word: str) -> None:
    assert word in refusal(Tensor(name, dtype, (2,), 8), suffix)


def test_two_tensors_never_share_a_member(session: Session, tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"w": strings([b"a"]), "w//offsets": np.arange(3)})
    done = written(session, str(tmp_path / "c"), tmp_path / "a.npz")
    assert [name for name, _ in done.left_out] == ["w//offsets"]
    assert np.load(tmp_path / "a.npz")["w//offsets"].tolist() == [0, 1]


def listing_at(path: Path) -> Listing:
    from ckptui.core.model import Artifact

    return Listing(Artifact(str(path), "saved-model", "m", None, 0, 0, 0, 0, 0.0), ())


def test_a_target_that_will_not_do_is_refused(tmp_path: Path) -> None:
    save = tmp_path / "model"
    (save / "assets").mkdir(parents=True)
    (tmp_path / "there.npz").write_bytes(b"x")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "link.npz").symlink_to("nowhere")
    listing = listing_at(save)
    for name in ("a.txt", "a", "none/a.npz", "model/a.npz", "model/assets/a.npz", "there.npz", "link.npz"):
        with pytest.raises(UsageError):
            export.check_target(listing, 1, str(tmp_path / name))
    with pytest.raises(UsageError):
        export.check_target(listing, 2, str(tmp_path / "a.npy"))
    with pytest.raises(UsageError):
        export.check_target(listing, 1, str(tmp_path / "folder.npz"), force=True)
    export.check_target(listing, 1, str(tmp_path / "there.npz"), force=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("force", [False, True])
def test_an_interrupt_at_any_step_leaves_nothing_unfinished(force: bool, tmp_path: Path) -> None:
    watched = {publishing.__file__, contextlib.__file__, export.__file__}

    def write(number: int) -> tuple[bool, int]:
        """Interrupt at line `number` of all that writing goes through; whether it was, and the lines met."""
        met = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal met
            if frame.f_code.co_filename not in watched:
                return None
            if event == "line":
                met += 1
                if met == number:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with export.pending(str(tmp_path / "a.npy"), force) as out:
                out.write(b"whole")
        except KeyboardInterrupt:
            return True, met
        finally:
            sys.settrace(before)
        return False, met

    interrupted, lines = write(-1)
    assert not interrupted
    assert lines > 20
    cut = 0
    for number in range(1, lines + 1):
        with contextlib.suppress(OSError):
            (tmp_path / "a.npy").unlink()
        cut += write(number)[0]
        gc.collect()
        left = list(tmp_path.iterdir())
        assert left in ([], [tmp_path / "a.npy"]), number
        assert not left or left[0].read_bytes() == b"whole"
    # one that hits what runs while an object is freed is told on stderr and goes no further
    assert cut >= lines - 2
    print(f"interrupts at {cut} steps: nothing unfinished left")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_export_leaves_nothing_behind(number: signal.Signals, code: int, tmp_path: Path) -> None:
    prefix = tmp_path / "save" / "c"
    prefix.parent.mkdir()
    write_bundle(prefix, {f"w{n}": np.zeros(1 << 20, "f4") + n for n in range(24)})
    # Python swallows what a signal raises inside a destructor and tells it: then once more
    results = [_interrupted(prefix, tmp_path / "first", number)]
    if "Exception ignored" in results[0][1]:
        results.append(_interrupted(prefix, tmp_path / "second", number))
    returned, told, left = results[-1]
    assert "Traceback" not in told
    if returned != 0:
        # it may have been done before the signal came
        assert returned == code, told
        assert left == []


def _interrupted(prefix: Path, out: Path, number: signal.Signals) -> tuple[int, str, list[Path]]:
    """An export that gets a signal once it writes: its exit code, what it told, and what it left."""
    out.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-m", "ckptui", "export", str(prefix), "-o", str(out / "a.npz")],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(out.iterdir()) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    return running.returncode, told, list(out.iterdir())
