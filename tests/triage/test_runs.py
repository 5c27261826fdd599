"""The verdict on a run, and one finding a cause."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Progress, RunFolder, Status
from ckptui.narrator import Course, Narrator
from ckptui.readers.siblings import names_with
from ckptui.triage.merging import merged
from ckptui.triage.runs import corrected, judge_run

RUN = RunFolder("/r", "r", ("/r/1", "/r/2", "/r/3"), latest="/r/3", state="/r/checkpoint", stated="3")


def test_the_newest_good_save_is_the_last_without_an_error() -> None:
    statuses: dict[str, Status] = {"/r/1": "ok", "/r/2": "warning", "/r/3": "error"}
    verdict = judge_run(RUN, statuses, {"/r/2": True, "/r/3": True})
    assert (verdict.newest_good, verdict.verified, verdict.damaged) == ("/r/2", True, ("/r/3",))
    assert verdict.misled
    assert verdict.to_json() == {
        "path": "/r",
        "label": "r",
        "saves": ["/r/1", "/r/2", "/r/3"],
        "latest": "/r/3",
        "state": "/r/checkpoint",
        "newest_good": "/r/2",
        "verified": True,
        "damaged": ["/r/3"],
        "leftovers": [],
    }


def test_a_save_nobody_looked_at_is_neither_good_nor_damaged() -> None:
    verdict = judge_run(RUN, {"/r/1": "ok", "/r/2": "unchecked"}, {})
    assert (verdict.newest_good, verdict.unchecked, verdict.damaged) == ("/r/1", ("/r/2", "/r/3"), ())
    nothing = judge_run(RUN, {}, {})
    assert (nothing.newest_good, nothing.verified, nothing.misled) == ("", False, False)
    assert nothing.to_json()["newest_good"] is None


def test_advice_follows_the_verdict() -> None:
    finding = make("state-dangling", "/r/checkpoint", evidence={"newest": "/r/3"}, advice="Restore /r/3")
    other = make("empty-file", "/r/x")
    verdict = judge_run(RUN, {"/r/1": "ok", "/r/2": "ok", "/r/3": "error"}, {})
    changed, same = corrected([finding, other], [verdict])
    assert (changed.evidence["newest"], same) == ("/r/2", other)
    assert "/r/2" in changed.advice
    assert "/r/3" not in changed.advice


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def test_the_reader_knows_better_than_names_and_both_give_evidence() -> None:
    seen = make("empty-file", "/m.h5", evidence={"looks_like": "empty file", "bytes": 0})
    [one] = merged([seen], [make("empty-file", "/m.h5", evidence={"bytes": 0, "file": "/m.h5"})])
    assert one.evidence == {"looks_like": "empty file", "bytes": 0, "file": "/m.h5"}


def test_a_file_that_is_something_else_explains_where_its_reader_stumbled() -> None:
    seen = make("not-a-model", "/c", evidence={"looks_like": "web page"})
    broken = make("index-damaged", "/c", evidence={"offset": 8, "tensorflow_says": "not an sstable"})
    shard = make("shard-missing", "/c", evidence={"file": "/c.data-00000-of-00001"})
    one, other = merged([seen], [broken, shard])
    assert (one.code, one.evidence["tensorflow_says"], other) == ("not-a-model", "not an sstable", shard)


def test_an_unfinished_copy_stands_for_the_file_it_was_to_become_and_no_other() -> None:
    evidence = {"kind": "copy", "belongs_to": "c.data-00000-of-00002"}
    copy = make("interrupted-save", "/c", evidence=evidence)
    first = make("shard-missing", "/c", evidence={"file": "/c.data-00000-of-00002"})
    second = make("shard-missing", "/c", evidence={"file": "/c.data-00001-of-00002"})
    found = merged([copy], [first, second])
    assert codes(found) == ["interrupted-save", "shard-missing"]
    assert (found[0].severity, found[1]) == ("error", second)


def test_a_guess_from_first_bytes_gives_way() -> None:
    guess = make("index-damaged", "/c", evidence={"looks_like": "zeros"})
    assert codes(merged([guess], [make("zero-filled", "/c")])) == ["zero-filled"]
    assert codes(merged([guess], [make("zero-filled", "/c", "tensor")])) == ["index-damaged", "zero-filled"]


def test_progress_through_many_saves_counts_all_their_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator()
    narrator.live = True
    course = Course(narrator, [100, 300, 600])
    course.start(0, "a")
    course.start(1, "b")
    course.start(2, "c")
    whole = course.course(300, 7.0)
    assert (whole.done_bytes, whole.total_bytes, whole.rate, whole.seconds_left) == (700, 1000, 100.0, 3.0)
    course.progress(Progress(5000, 6000, 1, 2, 1.0))
    assert "1 of 3  a" in capsys.readouterr().err


def test_names_that_begin_alike_are_those_that_are_there_now(tmp_path: Path) -> None:
    for name in ("ckpt-1.index", "ckpt-10.index", "ckpt-2.index", "other"):
        (tmp_path / name).touch()
    long_ago = time.time() - 100
    os.utime(tmp_path, (long_ago, long_ago))
    assert names_with(str(tmp_path), "ckpt-1") == ["ckpt-1.index", "ckpt-10.index"]
    (tmp_path / "ckpt-1.meta").touch()
    assert names_with(str(tmp_path), "ckpt-1.") == ["ckpt-1.index", "ckpt-1.meta"]
    (tmp_path / "ckpt-1.meta").unlink()
    assert names_with(str(tmp_path), "ckpt-1.") == ["ckpt-1.index"]
    assert names_with(str(tmp_path / "nowhere"), "") == []
    assert len(names_with(str(tmp_path), "")) == 4
