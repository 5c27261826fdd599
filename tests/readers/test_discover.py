"""Discovery: every save below a folder is listed once, with what is wrong about it; nothing can stop the walk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptui.core.model import Found
from ckptui.errors import NoSuchPath, NotASave
from ckptui.readers.discover import discover
from tests.places import CORPUS, ESTIMATOR, needs_corpus, needs_estimator
from tests.readers.saves import HDF5, KERAS_H5, V1, Walk, checkpoint, keras_zip, saved_model, table


def test_each_kind_of_save_is_listed_once(tmp_path: Path) -> None:
    checkpoint(tmp_path / "a" / "model")
    saved_model(tmp_path / "b" / "export")
    (tmp_path / "c.h5").write_bytes(KERAS_H5)
    keras_zip(tmp_path / "d.keras")
    (tmp_path / "e.weights.h5").write_bytes(HDF5)
    (tmp_path / "model.ckpt").write_bytes(V1)
    (tmp_path / "model.ckpt.meta").write_bytes(b"\x0a\x10graph")
    walk = Walk(tmp_path)
    kinds = {os.path.relpath(path, tmp_path): save.kind for path, save in walk.saves.items()}
    assert kinds == {
        "a/model": "tf-checkpoint",
        "b/export": "saved-model",
        "c.h5": "keras-h5",
        "d.keras": "keras-archive",
        "e.weights.h5": "keras-weights",
        "model.ckpt": "tf-checkpoint-v1",
    }
    assert walk.codes(tmp_path / "model.ckpt") == []
    assert not walk.runs
    assert not walk.notices


def test_a_saved_model_hides_its_own_parts_but_not_its_neighbours(tmp_path: Path) -> None:
    export = Path(saved_model(tmp_path / "export"))
    (export / "assets").mkdir()
    (export / "assets" / "vocab.h5").write_bytes(HDF5)
    (export / "nested.h5").write_bytes(HDF5)
    checkpoint(export / "more" / "ckpt")
    walk = Walk(tmp_path)
    assert set(walk.saves) == {str(export), str(export / "nested.h5"), str(export / "more" / "ckpt")}
    assert walk.saves[str(export)].folder == str(tmp_path)


@pytest.mark.parametrize("traces", [["fingerprint.pb"], ["keras_metadata.pb"], ["variables"]])
def test_an_export_without_its_graph_is_told(tmp_path: Path, traces: list[str]) -> None:
    export = tmp_path / "01"
    saved_model(export, graph=False, variables="variables" in traces)
    for name in traces:
        if name != "variables":
            (export / name).write_bytes(b"\x08\x01")
    walk = Walk(tmp_path)
    assert walk.codes(export) == ["graph-missing"]


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<html></html>"])
def test_a_saved_model_whose_graph_is_no_graph_is_told(tmp_path: Path, content: bytes) -> None:
    saved_model(tmp_path / "m")
    (tmp_path / "m" / "saved_model.pb").write_bytes(content)
    assert Walk(tmp_path).codes(tmp_path / "m") == ["not-a-model" if content else "empty-file"]


def test_the_empty_prefix_is_legal(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".index").write_bytes(table())
    (tmp_path / "run" / ".data-00000-of-00001").write_bytes(b"x")
    save = Walk(tmp_path).saves[str(tmp_path / "run") + "/"]
    assert save.kind == "tf-checkpoint"
    assert save.label == "run/"
    assert os.path.isfile(save.path + ".index")


def test_shards_without_an_index_are_a_checkpoint_that_lost_it(tmp_path: Path) -> None:
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"x" * 8)
    checkpoint(tmp_path / "ckpt-2_temp" / "part-00000-of-00001")
    walk = Walk(tmp_path)
    assert walk.codes(tmp_path / "ckpt-2") == ["index-missing", "interrupted-save"]
    finding = walk.saves[str(tmp_path / "ckpt-2")].findings[0]
    assert finding.evidence["rescue"] == [str(tmp_path / "ckpt-2_temp" / "part-00000-of-00001.index")]
    assert list(walk.saves) == [str(tmp_path / "ckpt-2")], "parts of the interrupted save are no saves"
    assert walk.notices == [], "the save tells it"


def test_temporary_files_of_a_first_save_are_a_save_that_was_interrupted(tmp_path: Path) -> None:
    for name in (
        "x.data-00000-of-00001.tempstate123456789",
        "x.index.tempstate987654321",
        "variables.data-00000-of-00001.tempstate1",
    ):
        (tmp_path / name).write_bytes(table())
        os.utime(tmp_path / name, (1, 1))
    walk = Walk(tmp_path)
    assert not walk.notices
    notes = {os.path.basename(path): save.findings[0] for path, save in walk.saves.items()}
    assert set(notes) == {"x", "variables"}
    assert all(n.code == "interrupted-save" and n.severity == "warning" for n in notes.values())
    assert notes["x"].evidence["index"] == ["x.index.tempstate987654321"]
    assert "killed" in notes["x"].detail


def test_a_save_that_changed_just_now_may_be_running(tmp_path: Path) -> None:
    (tmp_path / "x.data-00000-of-00001.tempstate1").write_bytes(b"x")
    assert "running" in Walk(tmp_path).saves[str(tmp_path / "x")].findings[0].title
    checkpoint(tmp_path / "y")
    assert "running" in Walk(tmp_path).notices[0].title


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.h5", b"", "empty-file"),
        ("model.keras", b"PK\x03\x04" + b"\x00" * 60, "zip-damaged"),
        ("ckpt-7.index", b"", "empty-file"),
        ("ckpt-7.index", b"\x1f\x8b" + b"\x00" * 90, "not-a-model"),
        ("ckpt-7.index", b"\x00\x01" * 90, "index-damaged"),
    ],
)
def test_what_looks_like_a_save_and_is_none_is_listed_with_the_reason(
    tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    (tmp_path / name).write_bytes(content)
    walk = Walk(tmp_path)
    path = tmp_path / name.removesuffix(".index")
    assert walk.codes(path) == [code]
    assert walk.saves[str(path)].findings[0].artifact == str(path)


def test_other_frameworks_are_notices(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\x00" * 40)
    orbax = tmp_path / "100"
    (orbax / "d").mkdir(parents=True)
    (orbax / "_CHECKPOINT_METADATA").write_text("{}")
    (orbax / "d" / "inside.h5").write_bytes(HDF5)
    (tmp_path / "5.orbax-checkpoint-tmp-17").mkdir()
    walk = Walk(tmp_path)
    assert not walk.saves
    assert {n.code for n in walk.notices} == {"unsupported-format"}
    assert sorted(os.path.basename(n.artifact) for n in walk.notices) == [
        "100",
        "5.orbax-checkpoint-tmp-17",
        "m.tflite",
    ]


# ---------------------------------------------------------------- the walk


def test_fifos_devices_and_loops_do_not_stop_the_walk(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.h5")
    os.mkfifo(tmp_path / "plain")
    (tmp_path / "zero.h5").symlink_to("/dev/zero")
    (tmp_path / "gone.keras").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.h5").symlink_to(tmp_path / "self.h5")
    checkpoint(tmp_path / "ckpt")
    start = time.monotonic()
    walk = Walk(tmp_path)
    assert time.monotonic() - start < 30
    assert walk.codes(tmp_path / "model.h5") == ["not-a-model"]
    assert "FIFO" in walk.saves[str(tmp_path / "model.h5")].findings[0].detail
    assert "device" in walk.saves[str(tmp_path / "zero.h5")].findings[0].detail
    assert "link to nothing" in walk.saves[str(tmp_path / "gone.keras")].findings[0].detail
    assert str(tmp_path / "plain") not in walk.saves
    assert len(walk.saves) == 5


def test_a_link_to_a_folder_is_followed_only_when_named(tmp_path: Path) -> None:
    checkpoint(tmp_path / "real" / "ckpt")
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "link").symlink_to(tmp_path / "real")
    assert not Walk(tmp_path / "view").saves
    assert list(Walk(tmp_path / "view" / "link").saves) == [str(tmp_path / "view" / "link" / "ckpt")]


def test_a_folder_named_twice_is_walked_once(tmp_path: Path) -> None:
    checkpoint(tmp_path / "a" / "ckpt")
    items = [i for i in discover([str(tmp_path), str(tmp_path / "a")]) if isinstance(i, Found)]
    assert len(items) == 1


def test_a_folder_that_refuses_is_a_notice_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "b" / "ckpt")
    (tmp_path / "a").mkdir()
    real = os.scandir

    def refuse(path: str) -> object:
        if path == str(tmp_path / "a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", refuse)
    walk = Walk(tmp_path)
    assert [(n.code, n.severity, n.artifact) for n in walk.notices] == [("unreadable", "warning", str(tmp_path / "a"))]
    assert str(tmp_path / "b" / "ckpt") in walk.saves


def test_deep_trees_are_walked_without_recursion(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        walk = Walk(tmp_path)
        assert [n.code for n in walk.notices] in ([], ["unreadable"])
    finally:
        # too deep for what clears the temporary folders, which recurses
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_environments_and_version_control_are_passed_over_unless_named(tmp_path: Path) -> None:
    for name in (".git/lfs", "venv/lib", "node_modules/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "m.h5").write_bytes(KERAS_H5)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    assert not Walk(tmp_path).saves
    assert len(Walk(tmp_path / "venv").saves) == 1
    assert len(Walk(tmp_path / ".git").saves) == 1


def test_without_recursion_only_the_folder_itself_is_looked_at(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt")
    checkpoint(tmp_path / "deeper" / "ckpt")
    assert list(Walk(tmp_path, recurse=False).saves) == [str(tmp_path / "ckpt")]


def test_the_current_folder_gives_plain_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "ckpt-1")
    saved_model(tmp_path / "sub" / "export")
    monkeypatch.chdir(tmp_path)
    assert set(Walk(".").saves) == {"ckpt-1", "sub/export"}
    monkeypatch.chdir(tmp_path / "sub" / "export")
    save = Walk(".").saves["."]
    assert (save.label, save.folder) == ("export", str(tmp_path / "sub"))


def test_files_and_prefixes_may_be_named_too(tmp_path: Path) -> None:
    prefix = checkpoint(tmp_path / "ckpt-1")
    (tmp_path / "m.h5").write_bytes(KERAS_H5)
    assert set(Walk(prefix + ".index", tmp_path / "m.h5").saves) == {prefix, str(tmp_path / "m.h5")}
    with pytest.raises(NoSuchPath):
        discover([str(tmp_path), str(tmp_path / "missing")])
    with pytest.raises(NotASave):
        discover(["/dev/null"])


def test_names_that_are_no_unicode_and_hostile_names_survive(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.h5"
    with open(raw, "wb") as file:
        file.write(KERAS_H5)
    (tmp_path / "[nope]\x1b]52;c;x\x07.h5").write_bytes(KERAS_H5)
    (tmp_path / "new\nline.index").write_bytes(table())
    assert len(Walk(tmp_path).saves) == 3


def test_the_walk_can_be_stopped_between_folders(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        checkpoint(tmp_path / name / "ckpt")
    asked = iter([False, False, True])
    saves = [i for i in discover([str(tmp_path)], stop=lambda: next(asked)) if isinstance(i, Found)]
    assert len(saves) == 1


def test_a_hundred_thousand_unrelated_files_cost_little_more_than_their_first_bytes(tmp_path: Path) -> None:
    for branch in range(4):
        inside = tmp_path / f"d{branch}"
        inside.mkdir()
        (inside / "seed").write_bytes(bytes(range(256)) * 8)
        for number in range(25_000):
            os.link(inside / "seed", inside / f"image_{number}.jpg")
    start = time.process_time()
    for place in tmp_path.glob("*/*"):
        with place.open("rb") as file:
            file.read(4096)
    middle = time.process_time()
    assert not Walk(tmp_path).saves
    # both in one process, so that a busy machine slows both
    assert time.process_time() - middle < 5 * (middle - start)


def test_discovery_imports_neither_numpy_nor_h5py() -> None:
    code = (
        "import sys; from ckptui.readers.discover import discover, resolve; list(discover([sys.argv[1]]));"
        "print([m for m in ('numpy', 'h5py', 'ml_dtypes', 'tensorflow', 'zipfile') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- third-party trees


@needs_estimator
def test_an_estimator_folder_is_a_run_and_an_export() -> None:
    walk = Walk(ESTIMATOR)
    run = walk.runs[str(ESTIMATOR)]
    assert [os.path.basename(path) for path in run.saves] == [f"model.ckpt-{step}" for step in (10, 20, 30)]
    assert run.latest.endswith("model.ckpt-30")
    assert run.findings == ()
    assert str(ESTIMATOR / "export" / "exporter") in walk.runs
    assert len(walk.saves) == 4


def catalogued() -> list[str]:
    """What the corpus catalogue lists, a checkpoint inside a SavedModel by the SavedModel's folder."""
    text = (CORPUS / "CATALOG.md").read_text()
    entries = re.findall(r"^- (ckpt|sm|h5|keras) `([^`]+)`", text, re.MULTILINE)
    paths = {re.sub(r"/variables/(saved_model_)?variables[^/]*$", "", path) for _, path in entries}
    for name in ("h5py-odd", "hdf5-cve", "jhdf"):
        for path in (CORPUS / name).iterdir():
            named = path.name.startswith("cve-") or path.suffix in (".h5", ".hdf5")
            if named and path.read_bytes()[:4] != b"GIF8":
                paths.add(f"{name}/{path.name}")
    return sorted(paths)


@needs_corpus
def test_every_catalogued_artifact_is_listed_and_nothing_else() -> None:
    walk = Walk(CORPUS)
    listed = sorted(os.path.relpath(path, CORPUS) for path in walk.saves)
    assert len(catalogued()) > 150
    assert listed == catalogued()


@needs_corpus
def test_corpus_saves_that_can_not_be_opened_say_why() -> None:
    walk = Walk(CORPUS)
    flagged = {os.path.relpath(p, CORPUS): walk.codes(p) for p, save in walk.saves.items() if save.findings}
    assert flagged == {"serving-missing-pb/01": ["graph-missing"]}
    assert len(walk.runs[str(CORPUS / "fer2013-sequence")].saves) == 16
    assert {n.title for n in walk.notices} == {
        "TensorFlow Lite model",
        "TensorFlow GraphDef (frozen graph)",
        "Riegeli records (a message in chunks)",
    }
