"""`ckptui timeline` in pipes: lines that come while saves are read, the document, exit codes; calls in this process."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui import comparing
from ckptui.core.model import Found, RunFolder, SaveColumn, Scalars, TensorPoint, TimelineRow, TimelineStart
from ckptui.gathering import unopened_artifact
from ckptui.session import Session
from ckptui.timeline_output import COURSE, SaveLines, _curve_name, course, tensors_text
from tests.places import ESTIMATOR, needs_estimator, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.test_contract import kept, sample, shell, told

SAVES = 6
DAMAGED, BROKEN, LEAPT = 3, 5, 4
"""Numbers of the saves that can't be opened, that have the first NaN, and that nothing changed before."""


@pytest.fixture(scope="module", autouse=True)
def _one_session() -> Iterator[None]:
    """The reader children of the first call serve all others."""
    with Session() as shared, pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "Session", lambda: contextlib.nullcontext(shared))
        yield


def value_of(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    moved = np.random.default_rng(0).normal(size=(16, 8)) + 0.01 * number
    return moved.astype("f4")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six saves: one cut off, the last two with a NaN, a tensor that never changes, one that comes later."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    for number in range(1, SAVES + 1):
        bias = np.full(8, 0.5 * number, "f4")
        if number >= BROKEN:
            bias[2] = np.nan
        late = {"late/kernel": value_of(9)} if number > 1 else {}
        content = {"dense/kernel": value_of(number), "dense/bias": bias, "frozen/kernel": value_of(0), **late}
        write_bundle(folder / f"ckpt-{number}", {**content, "global_step": np.int64(number * 10).reshape(())})
    index = folder / f"ckpt-{DAMAGED}.index"
    index.write_bytes(index.read_bytes()[:20])
    return folder


def lines_of_saves(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.startswith("ckpt-")]


# ------------------------------------------------------------------ the document


def test_the_document_of_a_run(run_folder: Path) -> None:
    code, document = kept("timeline", str(run_folder))
    assert code == 1
    assert [save["label"] for save in document["saves"]] == [f"ckpt-{n}" for n in range(1, SAVES + 1)]
    assert [save["status"] == "error" for save in document["saves"]][DAMAGED - 1]
    tensors = {t["name"]: t for t in document["tensors"]}
    kernel = tensors["dense/kernel"]
    read = [n for n in range(1, SAVES + 1) if n != DAMAGED]
    for number in range(1, SAVES + 1):
        expected = float(np.linalg.norm(value_of(number).astype("f8"))) if number in read else None
        assert kernel["l2"][number - 1] == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert kernel["delta_l2"][0] is None
    # since the last save that could be read
    moved = value_of(4).astype("f8") - value_of(2).astype("f8")
    assert kernel["delta_l2"][3] == pytest.approx(float(np.linalg.norm(moved)), rel=1e-9)
    assert tensors["dense/bias"]["nonfinite"] == [0, 0, None, 0, 1, 1]
    assert tensors["late/kernel"]["l2"][0] is None
    assert tensors["late/kernel"]["l2"][1] is not None
    assert tensors["frozen/kernel"]["delta_l2"][1:2] == [0.0]
    codes = {f["code"] for f in document["findings"]}
    assert {"non-finite", "index-damaged"} <= codes


@needs_samples
def test_healthy_runs_end_with_0() -> None:
    for name in ("digits", "estimator"):
        code, document = kept("timeline", sample(name))
        assert code == 0
        assert not [f for f in document["findings"] if f["severity"] != "info"]
        assert document["scalars"] == []


@needs_estimator
def test_curves_of_event_files_are_in_the_document_and_beside_the_saves() -> None:
    code, document = kept("timeline", str(ESTIMATOR))
    assert code == 0
    loss = next(curve for curve in document["scalars"] if curve["tag"] == "loss" and not curve["source"])
    assert len(loss["steps"]) == len(loss["values"]) > 2
    _, out, _ = told("timeline", str(ESTIMATOR))
    head = next(line for line in out.splitlines() if line.startswith("save"))
    assert head.split()[-1] == "loss"
    rows = [line.split() for line in out.splitlines() if line.startswith("model.ckpt-")]
    assert len(rows) == len(document["saves"])
    assert all(math.isfinite(float(row[-1])) for row in rows)


# ------------------------------------------------------------------ text


def column_lines(rows: list[TimelineRow], *columns: dict[int, TensorPoint]) -> list[str]:
    """Lines of saves made of points."""
    saves = tuple(
        Found(f"/e/{n}", "saved-model", str(n), "/e", n) for n in range(1700000000, 1700000000 + len(columns))
    )
    lines = SaveLines(TimelineStart(RunFolder("/e", "e", tuple(f.path for f in saves)), saves))
    told_ = lines.head("e")
    for place, points in enumerate(columns):
        told_ += lines.take(
            SaveColumn(place, unopened_artifact(saves[place]), tuple(rows) if not place else (), points)
        )
    return told_


def test_saves_in_odd_states() -> None:
    names = ("variables/0", "_all_variables/0", "b/kernel")
    rows = [
        TimelineRow(name, (2,), "float32", "kernel", own[0], own)
        for name, own in zip(names, ["a/k", "a/k", "b/k"], strict=True)
    ]
    point = TensorPoint(3.0, None, None, 0, 2, 5)
    rests = {0: TensorPoint(3.0, 0.0, 0, 0, 2, 5), 1: TensorPoint(3.0, 0.0, 0, 0, 2, 5)}
    moves = {at: TensorPoint(5.0, 1.5, 2, 0, 2, 6) for at in (0, 1)}
    lost = {at: TensorPoint(count=2, problem="cut off") for at in (0, 1)}
    broken = {0: TensorPoint(4.0, 1.0, 1, 1, 2, 9), 1: TensorPoint(4.0, 1.0, 1, 1, 2, 9)}
    empty = {0: TensorPoint(0.0, 0.0, 2, 2, 2, 8)}
    out = column_lines(
        rows, {0: point, 1: point, 2: TensorPoint(4.0, None, None, 0, 2, 7)}, rests, moves, lost, broken, empty
    )
    assert out[0] == "e  6 saves, step 1700000000 to 1700000005"
    cells = [line.split()[2:] for line in out[3:]]
    assert cells[0][:2] == ["5", "–"], "a weight that is stored twice counts once"
    assert cells[1][0] == "3"
    assert " ".join(cells[2]) == "5 0.5 a began to move"
    assert cells[3] == ["–", "–", "unreadable"]
    assert " ".join(cells[4]).endswith("norm of the finite part")
    assert cells[5][0] == "–"


def test_names_of_curves_keep_their_tag() -> None:
    points = {"steps": (1, 2), "values": (1.0, 2.0)}
    for source, wanted in [
        ("logs/train", "logs/train: epoch_learning_rate"),
        ("a/very/long/path/of/folders/train", "train: epoch_learning_rate"),
        ("", "epoch_learning_rate"),
    ]:
        assert _curve_name(Scalars("epoch_learning_rate", source, **points)) == wanted  # type: ignore[arg-type]


def test_the_page_of_a_run(run_folder: Path) -> None:
    code, out, err = told("timeline", str(run_folder))
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == f"{run_folder}  6 saves, step 1 to 6"
    assert lines[2].split() == ["save", "step", "norm", "change", "not", "finite"]
    saves = lines_of_saves(out)
    assert [row[0] for row in saves] == [f"ckpt-{n}" for n in range(1, SAVES + 1)]
    assert "index damaged" in " ".join(saves[DAMAGED - 1])
    assert saves[BROKEN - 1][4] == "1"
    # all weights together: the bias over its finite values, the frozen and the late kernel as they are
    two = [value_of(2), value_of(0), value_of(9), np.full(8, 1.0)]
    assert float(saves[1][2]) == pytest.approx(
        math.sqrt(sum(float((v.astype("f8") ** 2).sum()) for v in two)), rel=1e-3
    )
    moved = [value_of(2).astype("f8") - value_of(1), np.full(8, 0.5)]
    before = [value_of(1), value_of(0), np.full(8, 0.5)]
    norms = [math.sqrt(sum(float((v.astype("f8") ** 2).sum()) for v in some)) for some in (moved, before)]
    assert float(saves[1][3]) == pytest.approx(norms[0] / norms[1], rel=1e-3)
    bias = next(line for line in lines if line.startswith("dense/bias"))
    assert "!" in bias
    assert bias.endswith("not finite: ckpt-5")
    assert "never changed: frozen/kernel, late/kernel" in out
    assert "1 counter" in out
    assert "global_step" not in out.replace("findings", "")


def test_match_keeps_tensors_and_shows_their_state(run_folder: Path) -> None:
    _, document = kept("timeline", str(run_folder), "--match", "bias|global_step")
    assert {t["name"] for t in document["tensors"]} == {"dense/bias", "global_step"}
    _, out, _ = told("timeline", str(run_folder), "--match", "bias|global_step")
    assert any(line.startswith("global_step") for line in out.splitlines())
    assert "dense/kernel" not in out
    for wrong in ("no such tensor", "["):
        assert kept("timeline", str(run_folder), "--match", wrong)[0] == 2


def test_exit_codes(run_folder: Path, tmp_path: Path) -> None:
    assert kept("timeline", str(run_folder), "--fail-on", "never")[0] == 0
    assert told("timeline", str(run_folder), "--fail-on", "never")[0] == 0
    assert told("timeline", str(run_folder), "--fail-on", "warning")[0] == 1
    assert told("timeline", str(run_folder / "ckpt-2"))[1] == told("timeline", str(run_folder))[1]
    single = tmp_path / "single"
    single.mkdir()
    write_bundle(single / "ckpt-1", {"w/kernel": value_of(0)})
    for path in (single, single / "ckpt-1", tmp_path / "nowhere"):
        code, document = kept("timeline", str(path))
        assert code == 2, path
        assert document["hint"] or "No such" in document["title"]
    # of several runs none is guessed
    for name in ("one", "two"):
        shutil.copytree(run_folder, tmp_path / "several" / name)
    code, document = kept("timeline", str(tmp_path / "several"))
    assert code == 2
    assert str(tmp_path / "several" / "one") in document["hint"]


def test_many_saves_share_columns_and_none_is_left_out() -> None:
    run = RunFolder("/run", "run", ())
    saves = tuple(Found(f"/run/c-{n}", "tf-checkpoint", f"c-{n}", "/run", step=n) for n in range(200))
    lines = SaveLines(TimelineStart(run, saves))
    row = TimelineRow("w", (4,), "float32", "kernel")
    points = [TensorPoint(1.0, None if not n else 0.1 + (n == 77), n and 1, 0, 4) for n in range(200)]
    told_lines = [
        line
        for place, point in enumerate(points)
        for line in lines.take(SaveColumn(place, None, (row,) if not place else (), {0: point}))
    ]
    assert len(told_lines) == 200
    drawn = course(points)
    assert len(drawn) <= COURSE
    assert drawn.count("█") == 1
    assert drawn.index("█") == 77 // math.ceil(200 / COURSE)


def test_a_course_says_what_each_save_is() -> None:
    steady = TensorPoint(2.0, 0.1, 4, 0, 4)
    points = [
        TensorPoint(2.0, None, None, 0, 4), steady, TensorPoint(2.0, 0.0, 0, 0, 4), None,
        TensorPoint(problem="cut off"), TensorPoint(2.0, 1.6, 4, 0, 4), TensorPoint(2.0, 0.1, 4, 3, 4),
    ]  # fmt: skip
    assert course(points) == " ▁_ ×█!"
    assert course([TensorPoint(0.0, None, None, 0, 4), TensorPoint(1.0, 1.0, 4, 0, 4)]) == " █"


def test_curves_with_gaps_and_strange_names() -> None:
    from ckptui.core.model import TimelineReport

    curves = (
        Scalars("lo\x1b[2Jss", "ev\nal", tuple(range(100)), tuple(float(n) for n in range(100))),
        Scalars("flat", "", (0, 1), (1.0, 1.0)),
        Scalars("gone", "", (0, 1, 2), (1.0, math.nan, 2.0)),
        Scalars("nothing", "", (0,), (math.inf,)),
    )
    report = TimelineReport(RunFolder("/r", "r", ()), (), (), (), (), curves)
    out = "\n".join(tensors_text(report))
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5
    assert "▁!█" in out


# ------------------------------------------------------------------ streaming


@needs_samples
def test_a_line_is_there_before_the_next_save_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session() as session:
        real = session.timeline(session.run_at(sample("digits")))
        items = list(real)
    handed: list[int] = []

    class Slow:
        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            handed.append(-1)

        def run_at(self, path: str) -> RunFolder:
            return items[0].run if isinstance(items[0], TimelineStart) else RunFolder("", "", ())

        def scalars(self, *_: object) -> tuple[Scalars, ...]:
            return ()

        def timeline(self, *_: object, **__: object) -> Iterator[Any]:
            for item in items:
                if isinstance(item, SaveColumn):
                    handed.append(item.place)
                yield item

    monkeypatch.setattr(comparing, "Session", Slow)
    answer = comparing.timeline(sample("digits"), None)
    assert answer.streams
    handed.clear()
    lines = iter(answer.text())
    for number, line in enumerate(line for line in lines if line.startswith("ckpt-")):
        assert line.startswith(f"ckpt-{number + 1} ")
        assert max(handed) == number
        if number == 2:
            break
    # whoever stops reading ends the session, and with it its reader children
    lines.close()  # type: ignore[attr-defined]
    assert handed[-1] == -1


@needs_samples
def test_interrupted_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    done = shell(f"$CKPTUI timeline {sample('digits')} | head -n 4")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 4

    def interrupted(*_: object, **__: object) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Session, "timeline", interrupted)
    assert told("timeline", sample("digits"))[0] == 130
    assert told("timeline", sample("digits"), "--json")[0] == 130
