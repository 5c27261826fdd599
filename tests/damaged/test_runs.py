"""Folders of saves: which is the newest good one, what the state file says, what is left over; one finding a cause."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.checking import check, list_saves
from ckptui.core.sayings import SAYINGS
from tests.contract import problems
from tests.damaged.conftest import Oracle
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.readers.saves import HDF5, KERAS_H5, V1, Walk, state

HEX = "0123456789abcdef" * 2
HOUR_AGO = time.time() - 3600


def save(folder: Path, step: int | str, shards: int = 1, stem: str = "ckpt-") -> str:
    """A real small checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(step)))
    tensors = {f"layer{n}/kernel": rng.normal(size=(8, 5)).astype("f4") for n in range(4)}
    return write_bundle(folder / f"{stem}{step}", tensors, shards=shards)


def aged(folder: Path, when: float = HOUR_AGO) -> None:
    """Everything in a folder was changed an hour ago: nobody is writing it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (when, when))


def document(*paths: Path | str, quick: bool = True) -> dict[str, Any]:
    """What `ckptui check --json` prints, after it was held against the contract."""
    done: dict[str, Any] = json.loads(json.dumps(check([str(p) for p in paths], quick=quick).document()))
    assert problems(done) == []
    return done


def told(done: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(code, severity, name of what it is about) of every finding."""
    return [(f["code"], f["severity"], os.path.basename(f["artifact"].rstrip("/"))) for f in done["findings"]]


def the_run(done: dict[str, Any]) -> dict[str, Any]:
    """The only run of a document, with names for paths."""
    [run] = done["runs"]
    name = os.path.basename
    named = {key: name(run[key]) if run[key] else run[key] for key in ("latest", "state", "newest_good")}
    lists = {key: [name(path) for path in run[key]] for key in ("saves", "damaged", "leftovers")}
    return {**run, **named, **lists}


# ---------------------------------------------------------------- a state file, right and wrong


def test_a_healthy_run_has_nothing_to_say_but_its_newest_save(tmp_path: Path) -> None:
    for step in (1, 9, 10):
        save(tmp_path, step)
    state(tmp_path, "ckpt-10", ["ckpt-1", "ckpt-9", "ckpt-10"])
    done = document(tmp_path)
    assert done["findings"] == []
    run = the_run(done)
    assert run["saves"] == ["ckpt-1", "ckpt-9", "ckpt-10"]
    assert (run["latest"], run["state"], run["newest_good"]) == ("ckpt-10", "checkpoint", "ckpt-10")
    assert (run["verified"], run["damaged"], run["leftovers"]) == (False, [], [])
    listed = json.loads(json.dumps(list_saves([str(tmp_path)]).document()))
    assert problems(listed) == []
    assert listed["runs"] == done["runs"]


def test_a_state_file_that_names_a_save_which_is_gone(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    state(tmp_path, "ckpt-7", ["ckpt-1", "ckpt-2", "ckpt-7"])
    done = document(tmp_path)
    assert told(done) == [("state-dangling", "error", "checkpoint")]
    evidence = done["findings"][0]["evidence"]
    assert evidence["latest"] == "ckpt-7"
    assert evidence["newest"] == str(tmp_path / "ckpt-2")
    assert evidence["tensorflow_says"] == f"Couldn't match files for checkpoint {tmp_path / 'ckpt-7'}"
    assert str(tmp_path / "ckpt-2") in done["findings"][0]["advice"]
    run = the_run(done)
    assert (run["latest"], run["newest_good"]) == (None, "ckpt-2")
    text = "\n".join(check([str(tmp_path)], quick=True).text())
    assert f"restore this: {tmp_path / 'ckpt-2'}" in text
    assert "checkpoint names ckpt-7" in text


def test_advice_never_names_a_save_that_a_look_inside_found_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    shard = tmp_path / "ckpt-2.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-1])
    state(tmp_path, "ckpt-7")
    done = document(tmp_path)
    [dangling] = [f for f in done["findings"] if f["code"] == "state-dangling"]
    assert dangling["evidence"]["newest"] == str(tmp_path / "ckpt-1")
    assert "ckpt-2" not in dangling["advice"]
    assert the_run(done)["damaged"] == ["ckpt-2"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_eighteen_hundred_saves_that_were_removed_are_one_note(tmp_path: Path, elsewhere: bool) -> None:
    save(tmp_path, 1800)
    place = "/nowhere/at/all/" if elsewhere else ""
    state(tmp_path, "ckpt-1800", [*(f"{place}ckpt-{step}" for step in range(1, 1800)), "ckpt-1800"])
    start = time.process_time()
    done = document(tmp_path)
    assert time.process_time() - start < 3
    assert told(done) == [("state-dangling", "info", "checkpoint")]
    evidence = done["findings"][0]["evidence"]
    assert evidence["count"] == 1799
    assert len(evidence["gone"]) <= 20
    assert the_run(done)["newest_good"] == "ckpt-1800"


def test_a_state_file_that_is_huge_is_not_read_whole(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with open(tmp_path / "checkpoint", "wb") as file:
        file.write(b'model_checkpoint_path: "ckpt-1"\n')
        file.truncate(20 << 30)
    start = time.process_time()
    done = document(tmp_path)
    assert time.process_time() - start < 3
    assert told(done) == [("state-dangling", "error", "checkpoint")]


CONTENTS: list[tuple[str, bytes, str, str]] = [
    ("empty", b"", "empty-state", "empty file"),
    ("blank", b" \n\n", "empty-state", "empty file"),
    ("zeros", b"\0" * 64, "ignored-state", "zeros"),
    ("page", b"<html><body>404</body></html>", "ignored-state", "web page or error message"),
    ("pointer", b"version https://git-lfs.github.com/spec/v1\nsize 90\n", "ignored-state", "git-lfs pointer"),
    ("bytes", b"\x01\x02\xff\xfe garbage", "undecoded-state", ""),
    ("gzip", b"\x1f\x8b\x08\x00" + bytes(range(120, 160)), "undecoded-state", "gzip archive"),
    ("utf-16", 'model_checkpoint_path: "ckpt-1"\n'.encode("utf-16"), "undecoded-state", "UTF-16 text"),
    ("mark", b'\xef\xbb\xbfmodel_checkpoint_path: "ckpt-1"\n', "ignored-state", "UTF-8 text with a mark"),
    ("cut", b'model_checkpoint_path: "ckpt-1"\nall_model_ch', "ignored-state", "cut-off state file"),
    ("no latest", b'all_model_checkpoint_paths: "ckpt-1"\n', "empty-state", ""),
]


@pytest.mark.parametrize(
    ("content", "saying", "looks_like"), [row[1:] for row in CONTENTS], ids=[r[0] for r in CONTENTS]
)
def test_what_is_no_state_file_is_told_with_what_it_is(
    tmp_path: Path, content: bytes, saying: str, looks_like: str
) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_bytes(content)
    done = document(tmp_path)
    assert told(done) == [("state-dangling", "error", "checkpoint")]
    evidence = done["findings"][0]["evidence"]
    assert (evidence["looks_like"], evidence["bytes"]) == (looks_like, len(content))
    assert evidence["newest"] == str(tmp_path / "ckpt-1")
    assert evidence["tensorflow_says"] == SAYINGS[saying].text.format(folder=tmp_path, file=tmp_path / "checkpoint")
    assert the_run(done)["newest_good"] == "ckpt-1"


@pytest.mark.tensorflow
def test_tensorflow_says_of_each_state_file_what_the_table_says(tensorflow: Oracle, tmp_path: Path) -> None:
    folders = []
    for name, content, *_ in [*CONTENTS, ("gone", b'model_checkpoint_path: "ckpt-9"\n', "", "")]:
        save(tmp_path / name, 1)
        (tmp_path / name / "checkpoint").write_bytes(content)
        folders.append(tmp_path / name)
    orphan, crlf = tmp_path / "orphan", tmp_path / "crlf"
    for folder in (orphan, crlf):
        save(folder, 1)
        save(folder, 2)
        (folder / "checkpoint").write_bytes(
            b'model_checkpoint_path: "ckpt-1"\r\nall_model_checkpoint_paths: "ckpt-1"\r\n'
        )
    answers = [tensorflow("latest", str(folder)) for folder in (*folders, orphan, crlf)]
    for folder, (latest, said) in zip(folders, answers, strict=False):
        assert latest is None, folder
        [finding] = document(folder)["findings"]
        assert any(finding["evidence"]["tensorflow_says"] in line for line in said), (folder, said, finding)
    assert answers[-2][0] == str(orphan / "ckpt-1"), "the older one, as state-stale says"
    assert answers[-1][0] == str(crlf / "ckpt-1")


def test_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_bytes(
        b'model_checkpoint_path: "ckpt-1"\r\nall_model_checkpoint_paths: "ckpt-1"\r\n'
    )
    assert document(tmp_path)["findings"] == []


def test_a_state_file_with_absolute_paths_after_a_move(tmp_path: Path) -> None:
    save(tmp_path, 3, stem="model.ckpt-")
    state(tmp_path, "/gone/run/model.ckpt-3")
    done = document(tmp_path)
    assert told(done) == [("state-elsewhere", "warning", "checkpoint")]
    assert done["findings"][0]["evidence"]["beside"] == str(tmp_path / "model.ckpt-3")
    assert the_run(done)["newest_good"] == "model.ckpt-3"


def test_a_state_file_under_another_name_is_one_too(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    state(tmp_path, "ckpt-3", ["ckpt-1", "ckpt-2", "ckpt-3"])
    best = tmp_path / "checkpoint_best"
    best.write_text('model_checkpoint_path: "ckpt-2"\n')
    done = document(tmp_path)
    assert done["findings"] == [], "the best save is not meant to be the newest"
    assert len(done["runs"]) == 1
    best.write_text('model_checkpoint_path: "ckpt-8"\n')
    done = document(tmp_path)
    assert told(done) == [("state-dangling", "error", "checkpoint_best")]
    (tmp_path / "checkpoint").unlink()
    best.rename(tmp_path / "my_saver_state")
    done = document(tmp_path)
    assert told(done) == [("state-dangling", "error", "my_saver_state")]
    assert the_run(done)["state"] == "my_saver_state"


def test_state_files_of_two_trainings_in_a_folder_lead_two_runs(tmp_path: Path) -> None:
    for stem in ("gen-", "disc-"):
        save(tmp_path, 1, stem=stem)
        save(tmp_path, 2, stem=stem)
    state(tmp_path, "gen-2", ["gen-1", "gen-2"])
    (tmp_path / "checkpoint_disc").write_text('model_checkpoint_path: "disc-1"\nall_model_checkpoint_paths: "disc-1"\n')
    done = document(tmp_path)
    runs = {os.path.basename(run["state"] or ""): run for run in done["runs"]}
    assert os.path.basename(runs["checkpoint"]["newest_good"]) == "gen-2"
    assert os.path.basename(runs["checkpoint_disc"]["newest_good"]) == "disc-2"


def test_a_state_file_may_name_the_pattern_of_a_v1_save(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"model-5-0000{number}-of-00002").write_bytes(V1)
    state(tmp_path, "model-5-?????-of-00002")
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == []
    assert walk.runs[str(tmp_path)].latest == str(tmp_path / "model-5-?????-of-00002")
    state(tmp_path, "model-6-?????-of-00002")
    assert walk.runs[str(tmp_path)].latest
    assert Walk(tmp_path).run_codes(tmp_path) == [("state-dangling", "error")]


def test_a_folder_called_checkpoint_is_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", 1)
    save(tmp_path / "checkpoint", 2)
    done = document(tmp_path)
    assert done["findings"] == []
    assert the_run(done)["newest_good"] == "ckpt-2"


# ---------------------------------------------------------------- crashes between index and clean-up


def test_a_whole_save_that_the_state_file_does_not_mention(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    done = document(tmp_path)
    assert told(done) == [("state-stale", "warning", "checkpoint")]
    finding = done["findings"][0]
    assert finding["evidence"]["newer"] == finding["evidence"]["unmentioned"] == [str(tmp_path / "ckpt-3")]
    assert "does not mention" in finding["detail"]
    assert finding["certainty"] == "confirmed"
    run = the_run(done)
    assert (run["latest"], run["newest_good"]) == ("ckpt-2", "ckpt-3")


def test_a_state_file_that_was_being_rewritten_belongs_to_the_newer_save(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    state(tmp_path, "ckpt-1")
    (tmp_path / f"checkpoint.tmp{HEX}").write_text('model_checkpoint_path: "ckpt-2"\n')
    aged(tmp_path)
    done = document(tmp_path)
    assert told(done) == [("state-stale", "warning", "checkpoint")], "one crash, one finding"
    assert done["findings"][0]["evidence"]["files"] == [f"checkpoint.tmp{HEX}"]
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    done = document(tmp_path)
    assert told(done) == [("interrupted-save", "warning", f"checkpoint.tmp{HEX}")]
    assert done["findings"][0]["evidence"]["kind"] == "save"
    assert the_run(done)["leftovers"] == [f"checkpoint.tmp{HEX}"]


def test_saves_of_an_earlier_training_are_not_newer_for_their_step(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 100)
    for path in tmp_path.glob("ckpt-100*"):
        os.utime(path, (HOUR_AGO, HOUR_AGO))
    (tmp_path / "checkpoint").write_text(
        f'model_checkpoint_path: "ckpt-5"\nall_model_checkpoint_paths: "ckpt-5"\n'
        f"all_model_checkpoint_timestamps: {time.time()}\n"
    )
    done = document(tmp_path)
    assert done["findings"] == []
    assert the_run(done)["newest_good"] == "ckpt-5"
    state(tmp_path, "ckpt-5")
    done = document(tmp_path)
    assert [(f["code"], f["certainty"]) for f in done["findings"]] == [("state-stale", "possible")]


@pytest.mark.parametrize("half", ["index", "data"])
def test_what_a_clean_up_left_of_an_old_save_is_no_lost_index(tmp_path: Path, half: str) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    gone = "ckpt-1.data-00000-of-00001" if half == "index" else "ckpt-1.index"
    (tmp_path / gone).unlink()
    state(tmp_path, "ckpt-3", ["ckpt-2", "ckpt-3"])
    done = document(tmp_path)
    assert told(done) == [("interrupted-save", "warning", tmp_path.name)]
    evidence = done["findings"][0]["evidence"]
    left = "ckpt-1.index" if half == "index" else "ckpt-1.data-00000-of-00001"
    assert (evidence["kind"], evidence["files"], evidence["count"]) == ("clean-up", [left], 1)
    assert "no longer lists" in done["findings"][0]["detail"]
    run = the_run(done)
    assert (run["saves"], run["leftovers"], run["damaged"]) == (["ckpt-2", "ckpt-3"], [left], [])
    assert {os.path.basename(a["path"]) for a in done["artifacts"]} == {"ckpt-2", "ckpt-3"}


@pytest.mark.parametrize(("lost", "code"), [("index", "index-missing"), ("data-00000-of-00001", "shard-missing")])
def test_half_of_a_save_that_the_state_file_lists_is_damage(tmp_path: Path, lost: str, code: str) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / f"ckpt-1.{lost}").unlink()
    state(tmp_path, "ckpt-3", ["ckpt-1", "ckpt-2", "ckpt-3"])
    done = document(tmp_path)
    assert told(done) == [(code, "error", "ckpt-1")]
    assert the_run(done)["newest_good"] == "ckpt-3"


def test_a_lost_index_after_the_latest_save_is_no_clean_up(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "ckpt-3.index").unlink()
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    assert told(document(tmp_path)) == [("index-missing", "error", "ckpt-3")]


# ---------------------------------------------------------------- copies that did not end

COPY_NAMES = [
    "{}.part", "{}.partial", "{}.filepart", "{}.crdownload", "{}.tmp", "{}.download", "{}_.gstmp", ".{}.aB3dE9",
    ".syncthing.{}.tmp", "{}.6aF0c1D2", ".rsync-partial/{}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", COPY_NAMES)
@pytest.mark.parametrize("part", ["index", "data-00001-of-00002"])
def test_a_copy_that_did_not_end_is_the_one_cause(tmp_path: Path, pattern: str, part: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2, shards=2)
    target = f"ckpt-2.{part}"
    left = tmp_path / pattern.format(target)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes((tmp_path / target).read_bytes()[:20])
    (tmp_path / target).unlink()
    aged(tmp_path)
    state(tmp_path, "ckpt-1")
    done = document(tmp_path)
    assert told(done) == [("interrupted-save", "error", "ckpt-2")]
    finding = done["findings"][0]
    assert finding["title"] == "A copy that did not finish"
    assert (finding["evidence"]["kind"], finding["evidence"]["files"]) == ("copy", [left.name])
    assert finding["evidence"]["belongs_to"] == target
    assert finding["evidence"]["tensorflow_says"]
    run = the_run(done)
    assert (run["damaged"], run["newest_good"]) == (["ckpt-2"], "ckpt-1")
    assert left.name in run["leftovers"]


def test_a_copy_begun_again_leaves_a_whole_save_whole(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "ckpt-2.data-00000-of-00001.part").write_bytes(b"x" * 9)
    (tmp_path / "ckpt-2.index~").write_bytes(b"x" * 9)
    (tmp_path / "checkpoint~").write_bytes(b"x" * 9)
    aged(tmp_path)
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    done = document(tmp_path)
    assert told(done) == [("interrupted-save", "warning", "ckpt-2.data-00000-of-00001.part")]
    assert "is whole" in done["findings"][0]["detail"]
    assert {a["status"] for a in done["artifacts"]} == {"ok"}
    assert the_run(done)["leftovers"] == ["checkpoint~", "ckpt-2.data-00000-of-00001.part", "ckpt-2.index~"]


def test_a_download_of_a_single_file_is_told_and_is_no_save(tmp_path: Path) -> None:
    (tmp_path / "model.h5.crdownload").write_bytes(KERAS_H5)
    (tmp_path / "epoch-1.keras.part").write_bytes(b"PK\x03\x04")
    aged(tmp_path)
    done = document(tmp_path)
    assert done["artifacts"] == []
    assert told(done) == [
        ("interrupted-save", "warning", "epoch-1.keras.part"),
        ("interrupted-save", "warning", "model.h5.crdownload"),
    ]
    (tmp_path / "notes.txt.part").write_bytes(b"words")
    assert len(document(tmp_path)["findings"]) == 2, "files that belong to no save are not spoken of"


def test_what_is_being_written_right_now_is_said_so(tmp_path: Path) -> None:
    save(tmp_path, 1)
    state(tmp_path, "ckpt-1")
    (tmp_path / "ckpt-2.data-00000-of-00001.tempstate77").write_bytes(b"x" * 99)
    done = document(tmp_path)
    assert [(f["code"], f["severity"]) for f in done["findings"]] == [("interrupted-save", "warning")]
    assert "running right now" in done["findings"][0]["detail"]
    assert done["findings"][0]["evidence"]["running"] is True
    aged(tmp_path)
    assert "running" not in document(tmp_path)["findings"][0]["detail"]


# ---------------------------------------------------------------- interrupted saves


def stages(folder: Path) -> dict[str, Path]:
    """A folder with one good save for each of the states that an interrupted second one leaves."""
    out = {}
    for stage in ("data being written", "data renamed", "index being written", "merging", "half an index", "cleaning"):
        run = out[stage] = folder / stage.replace(" ", "-")
        save(run, 1)
        state(run, "ckpt-1")
        save(run, 2)
        index, data = run / "ckpt-2.index", run / "ckpt-2.data-00000-of-00001"
        temp = run / "ckpt-2_temp"
        if stage in ("merging", "half an index", "cleaning"):
            temp.mkdir()
            shutil.copy(index, temp / "part-00000-of-00001.index")
        if stage == "data being written":
            data.rename(run / f"{data.name}.tempstate12345")
            (run / f"{data.name}.tempstate12345").write_bytes(b"x" * 30)
            index.unlink()
        elif stage in ("data renamed", "merging"):
            index.unlink()
        elif stage == "index being written":
            index.rename(run / "ckpt-2.index.tempstate99")
        elif stage == "half an index":
            index.write_bytes(index.read_bytes()[:20])
        aged(run)
    return out


def test_each_stage_of_an_interrupted_save_is_told_once(tmp_path: Path) -> None:
    newest = {}
    for stage, run in stages(tmp_path).items():
        done = document(run)
        mine = [f for f in done["findings"] if f["code"] == "interrupted-save"]
        others = sorted(f["code"] for f in done["findings"] if f["code"] != "interrupted-save")
        print(f"{stage:20} {told(done)}")
        if stage == "data renamed":
            assert (others, mine) == (["index-missing"], [])
        elif stage == "cleaning":
            assert others == [] or others == ["state-stale"]
            assert len(mine) == 1
        else:
            assert len(mine) == 1, told(done)
            assert mine[0]["evidence"]["kind"] == "save"
            assert "checksum-mismatch" not in others
        newest[stage] = the_run(done)["newest_good"]
    assert newest["cleaning"] == "ckpt-2"
    assert {newest[stage] for stage in newest if stage != "cleaning"} <= {"ckpt-1", "ckpt-2"}
    assert newest["data being written"] == newest["data renamed"] == "ckpt-1"


@pytest.mark.parametrize("kind", ["parts", "tempstate"])
def test_the_remains_of_a_first_save_are_listed(tmp_path: Path, kind: str) -> None:
    whole = Path(save(tmp_path / "made", 1))
    run = tmp_path / "run"
    run.mkdir()
    if kind == "parts":
        (run / "ckpt-1_temp").mkdir()
        target = run / "ckpt-1_temp" / "part-00000-of-00001"
        shutil.copy(f"{whole}.index", f"{target}.index")
        shutil.copy(f"{whole}.data-00000-of-00001", f"{target}.data-00000-of-00001")
    else:
        shutil.copy(f"{whole}.index", run / "ckpt-1.index.tempstate5")
        shutil.copy(f"{whole}.data-00000-of-00001", run / "ckpt-1.data-00000-of-00001")
    aged(run)
    for path in (run, run / "ckpt-1"):
        done = document(path)
        assert [(a["path"], a["kind"]) for a in done["artifacts"]] == [(str(run / "ckpt-1"), "tf-checkpoint")]
        assert [f["code"] for f in done["findings"]].count("interrupted-save") == 1, told(done)
        assert done["artifacts"][0]["tensors"] == 4


# ---------------------------------------------------------------- the newest good save


def test_a_full_check_finds_the_newest_save_whose_bytes_are_good(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    state(tmp_path, "ckpt-3", ["ckpt-1", "ckpt-2", "ckpt-3"])
    shard = tmp_path / "ckpt-3.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[100] ^= 8
    shard.write_bytes(data)
    run = the_run(document(tmp_path))
    assert (run["newest_good"], run["verified"]) == ("ckpt-3", False), "a quick check can't see it"
    answer = check([str(tmp_path)], quick=False)
    run = the_run(document(tmp_path, quick=False))
    assert (run["latest"], run["newest_good"], run["verified"]) == ("ckpt-3", "ckpt-2", True)
    assert run["damaged"] == ["ckpt-3"]
    text = "\n".join(answer.text())
    assert f"restore this: {tmp_path / 'ckpt-2'}" in text
    assert "newest good save ckpt-2 (its bytes were checked)" in text


@needs_samples
def test_epoch_files_and_exports_are_judged_too(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    import h5py

    epochs, exports = tmp_path / "epochs", tmp_path / "export"
    epochs.mkdir()
    for epoch in range(1, 5):
        with h5py.File(epochs / f"net.{epoch:02}.weights.h5", "w") as file:
            file["layers/dense/vars/0"] = np.ones((64, 3), "f4") * epoch
    last = epochs / "net.04.weights.h5"
    last.write_bytes(last.read_bytes()[:-100])
    for version in ("1700000001", "1700000002"):
        shutil.copytree(SAMPLES / "digits_saved_model", exports / version)
    (exports / "1700000002" / "saved_model.pb").unlink()
    aged(tmp_path)
    done = document(tmp_path)
    runs = {os.path.basename(run["path"]): run for run in done["runs"]}
    assert os.path.basename(runs["epochs"]["newest_good"]) == "net.03.weights.h5"
    assert [os.path.basename(path) for path in runs["epochs"]["damaged"]] == ["net.04.weights.h5"]
    assert os.path.basename(runs["export"]["newest_good"]) == "1700000001"
    text = "\n".join(check([str(tmp_path)], quick=True).text())
    assert text.count("restore this:") == 2


def test_one_save_that_can_not_be_opened_does_not_stop_the_rest(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / name, 1)
    (tmp_path / "b" / "ckpt-1.index").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.h5")
    done = document(tmp_path, quick=False)
    assert done["summary"]["artifacts"] == 4
    assert done["summary"]["tensors_checked"] == 8
    assert done["summary"]["error"] == len(done["findings"]) == 2
    assert {a["status"] for a in done["artifacts"]} == {"ok", "error"}


def test_the_worst_come_first(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "ckpt-2.index").unlink()
    (tmp_path / "x.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\x00" * 40)
    (tmp_path / "model.h5.part").write_bytes(HDF5)
    severities = [f["severity"] for f in document(tmp_path)["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert set(severities) == {"error", "warning", "info"}


def test_a_folder_of_a_thousand_saves_takes_seconds(tmp_path: Path) -> None:
    first = Path(save(tmp_path, 0))
    for step in range(1, 1000):
        for part in ("index", "data-00000-of-00001"):
            os.link(f"{first}.{part}", tmp_path / f"ckpt-{step}.{part}")
    aged(tmp_path)
    os.utime(tmp_path, (HOUR_AGO, HOUR_AGO))
    start = time.process_time()
    done = document(tmp_path)
    seconds = time.process_time() - start
    print(f"1000 saves quick-checked in {seconds:.2f} s")
    assert done["summary"]["artifacts"] == 1000
    assert os.path.basename(done["runs"][0]["newest_good"]) == "ckpt-999"
    assert seconds < 6


# ---------------------------------------------------------------- healthy folders

ABOUT_RUNS = ("state-dangling", "state-stale", "state-elsewhere", "interrupted-save", "orphan-shard", "not-a-model")


def alarms(paths: Sequence[Path]) -> tuple[list[tuple[str, str]], int]:
    """Findings of this topic below `paths`, and how many saves were looked at."""
    done = document(*paths)
    return [(f["code"], f["artifact"]) for f in done["findings"] if f["code"] in ABOUT_RUNS], len(done["artifacts"])


@needs_samples
@needs_estimator
def test_no_alarm_over_healthy_runs() -> None:
    healthy = [path for path in SAMPLES.iterdir() if path.name not in ("broken", "suspicious", "images")]
    healthy = [path for path in healthy if path.is_dir() or path.suffix in (".h5", ".keras")]
    found, looked = alarms([*healthy, ESTIMATOR])
    assert looked > 10
    assert found == []


@needs_corpus
def test_no_alarm_over_third_party_models() -> None:
    walk = Walk(CORPUS)
    wrong = [(f.code, f.artifact) for run in walk.runs.values() for f in run.findings]
    wrong += [(f.code, f.artifact) for f in walk.notices if f.code in ABOUT_RUNS]
    wrong += [(f.code, s.path) for s in walk.saves.values() for f in s.findings if f.code in ABOUT_RUNS]
    print(f"{len(walk.saves)} saves, {len(walk.runs)} runs, {len(wrong)} alarms")
    assert len(walk.saves) > 150
    moved = CORPUS / "serving" / "bad_half_plus_two" / "00000123" / "checkpoint"
    assert wrong == [("state-elsewhere", str(moved))], "the one that names a folder of its author's machine"
    assert b'"/' in moved.read_bytes()
