"""Answers once recorded: every form they come in, and how far their digits go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Expectation
from ckptui.errors import CkptuiError, NoSuchPath, UsageError
from ckptui.predict.answers import Answer
from ckptui.predict.expect import check_compared, expectation, findings
from ckptui.predict.recorded import read_recorded

Form = Callable[[Path, Any], None]
DRAW = np.random.default_rng(5)
ANSWERS = (DRAW.dirichlet(np.ones(5), 3)).astype(np.float32)
PATHS = ["a/0.png", "a/1.png", "b/2.png"]
LABELS = ("zero", "one", "two", "three", "four")


def answer(row: int, name: str = "scores") -> Answer:
    return Answer(((name, ANSWERS[row : row + 1]),))


def held(path: Path, answers: list[Answer] | None = None) -> list[Expectation]:
    recorded = read_recorded(str(path))
    made = answers or [answer(row) for row in range(3)]
    rows = [recorded.row_for(place, PATHS[place], len(made)) for place in range(len(made))]
    return [expectation(recorded, row, each, LABELS, 2) for row, each in zip(rows, made, strict=True)]


def written(values: Any, how: str) -> list[list[str]]:
    return [[format(float(value), how) for value in row] for row in values]


def csv(path: Path, values: Any) -> None:
    path.write_text("\n".join(",".join(row) for row in written(values, ".6f")))


def csv_by_path(path: Path, values: Any) -> None:
    rows = [[name, *row] for name, row in zip(PATHS, written(values, ".5f"), strict=True)]
    path.write_text("file,p0,p1,p2,p3,p4\n" + "\n".join(",".join(row) for row in reversed(rows)))


def plain(path: Path, values: Any) -> None:
    path.write_text("# from the training box\n" + "\n".join(" ".join(row) for row in written(values, ".4g")))


def serving_rows(path: Path, values: Any) -> None:
    path.write_text(json.dumps({"predictions": [[float(v) for v in row] for row in values]}))


def serving_named_rows(path: Path, values: Any) -> None:
    path.write_text(json.dumps({"predictions": [{"scores": [float(v) for v in row], "other": 1} for row in values]}))


def serving_columns(path: Path, values: Any) -> None:
    path.write_text(json.dumps({"outputs": {"scores": [[float(v) for v in row] for row in values]}}))


def serving_one_column(path: Path, values: Any) -> None:
    path.write_text(json.dumps({"outputs": [[float(v) for v in row] for row in values]}))


def own(path: Path, values: Any) -> None:
    runs = [[{"name": "repeat", "output": [1]}, {"name": "original", "output": [float(v) for v in r]}] for r in values]
    images = [{"path": f"/elsewhere/{name}", "runs": run} for name, run in zip(PATHS, runs, strict=True)]
    path.write_text(json.dumps({"schema": "ckptui/predict/1", "model": {}, "images": images[::-1]}))


def npy(path: Path, values: Any) -> None:
    with path.open("wb") as file:
        np.save(file, np.asarray(values, np.float32))


def npz(path: Path, values: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, scores=np.asarray(values, np.float32), other=np.zeros((3, 2)))


FORMS = [csv, csv_by_path, plain, serving_rows, serving_named_rows, serving_columns, serving_one_column, own, npy, npz]
BINARY_OR_ALL_DIGITS = FORMS[3:]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_within_its_digits_and_a_change_is_seen(
    form: Callable[[Path, Any], None], tmp_path: Path
) -> None:
    suffix = ".json" if form in FORMS[3:8] else f".{form.__name__}"
    path = tmp_path / f"recorded{suffix}"
    form(path, ANSWERS)
    found = held(path)
    assert [e.error for e in found] == ["", "", ""]
    assert all(e.within and not e.top1_changed for e in found)
    assert all(e.identical for e in found) == (form in BINARY_OR_ALL_DIGITS)
    assert [e.top[0][1] for e in found] == [LABELS[int(row.argmax())] for row in ANSWERS]
    assert findings("m", read_recorded(str(path)), list(zip(PATHS, found, strict=True))) == []
    moved = ANSWERS.copy()
    moved[1] = np.roll(moved[1], 1)
    form(path, moved)
    found = held(path)
    assert [e.within for e in found] == [True, False, True]
    (finding,) = findings("m", read_recorded(str(path)), list(zip(PATHS, found, strict=True)))
    assert (finding.code, finding.severity) == ("expectation-differs", "error")
    assert finding.evidence["images"] == ["a/1.png"]
    assert finding.evidence["top1_changed"] == 1
    assert finding.evidence["max_abs"] == pytest.approx(np.abs(moved[1] - ANSWERS[1]).max(), abs=1e-3)


@pytest.mark.parametrize("how", [".3f", ".5f", ".2e", ".3g", ".8f"])
def test_a_difference_below_half_a_digit_is_none_and_one_above_is(how: str, tmp_path: Path) -> None:
    values = np.array([[0.123456, 0.3, 0.576544]])
    (row,) = written(values, how)
    path = tmp_path / "recorded.txt"
    path.write_text(" , ".join(row))
    recorded = np.array([[float(cell) for cell in row]])
    unit = 10.0 ** -int(how[1]) if how[2] == "f" else 10.0 ** (-int(how[1]) if how[2] == "g" else -int(how[1]) - 1)
    near, far = recorded + 0.45 * unit, recorded + 2 * unit + 3e-5
    made = [Answer((("scores", each),)) for each in (near, far)]
    assert held(path, made[:1])[0].within
    assert not held(path, made[1:])[0].within


def test_zeros_dropped_at_the_end_do_not_make_a_number_coarse(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    path.write_text('{"predictions": [[0.5, 0.123456789, 0.376543211]]}')
    exact = np.array([[0.5, 0.123456789, 0.376543211]])
    assert held(path, [Answer((("scores", exact),))])[0].within
    assert not held(path, [Answer((("scores", exact + np.array([[0.04, 0, 0]])),))])[0].within


def test_a_class_alone_is_held_against_the_best_answer(tmp_path: Path) -> None:
    best = [int(row.argmax()) for row in ANSWERS]
    path = tmp_path / "recorded.csv"
    path.write_text("\n".join(f"{name},{LABELS[place]}" for name, place in zip(PATHS, best, strict=True)))
    assert [(e.within, e.top1_changed, e.max_abs_diff) for e in held(path)] == [(True, False, None)] * 3
    path.write_text("\n".join(f"{name},{(place + 1) % 5}" for name, place in zip(PATHS, best, strict=True)))
    assert [(e.within, e.top1_changed) for e in held(path)] == [(False, True)] * 3


def test_one_number_an_image_is_split_over_them(tmp_path: Path) -> None:
    path = tmp_path / "recorded.txt"
    path.write_text("0.25\n0.50\n0.75\n")
    made = [Answer((("p", np.array([[value]])),)) for value in (0.251, 0.5, 0.9)]
    assert [e.within for e in held(path, made)] == [True, True, False]


def test_answers_that_do_not_fit_say_how(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    path.write_text('{"predictions": [[0.1, 0.2], [0.3, 0.4]]}')
    found = held(path)
    assert found[0].error == "2 values against 5"
    assert found[2].error == "no answer is recorded for this image"
    (finding,) = findings("m", read_recorded(str(path)), list(zip(PATHS, found, strict=True)))
    assert (finding.code, finding.severity) == ("expectation-differs", "error")
    assert "2 values against 5" in finding.detail
    assert finding.evidence["mismatched"] == {"a/0.png": "2 values against 5", "a/1.png": "2 values against 5"}
    assert finding.evidence["missing"] == ["b/2.png"]
    path.write_text(json.dumps({"b/2.png": [float(v) for v in ANSWERS[2]]}))
    found = held(path)
    assert [bool(e.error) for e in found] == [True, True, False]
    (finding,) = findings("m", read_recorded(str(path)), list(zip(PATHS, found, strict=True)))
    assert (finding.severity, finding.evidence["missing"]) == ("warning", ["a/0.png", "a/1.png"])
    check_compared(read_recorded(str(path)), found)
    with pytest.raises(UsageError, match="holds no answer for any of these images"):
        check_compared(read_recorded(str(path)), found[:2])
    path.write_text('{"predictions": [["nan", 0.1, "inf", 0, 0]]}')
    odd = Answer((("scores", np.array([[np.nan, 0.1, np.inf, 0, 0]])),))
    assert held(path, [odd])[0].within


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "[3.7]", "[-1]"])
def test_one_number_that_is_no_class_is_another_number_of_values(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recorded.json"
    path.write_text(text)
    (found,) = held(path, [answer(0)])
    assert found.error.startswith("1 value against 5")
    assert not found.within
    assert [f.severity for f in findings("m", read_recorded(str(path)), [("a/0.png", found)])] == ["error"]


def test_a_class_output_is_held_against_a_class(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    for text, same in (("[3]", True), ("[2]", False), ("[2.6]", False), ("[NaN]", False)):
        path.write_text(text)
        (found,) = held(path, [Answer((("ArgMax", np.array([3])),))])
        assert (found.within, found.top1_changed, found.identical) == (same, not same, same), text
    path.write_text("[3]")
    assert held(path, [Answer((("ArgMax", np.array([3])),))])[0].top == ((3, "three", 3.0),)


def test_rows_given_together_are_held_against_as_many(tmp_path: Path) -> None:
    path = tmp_path / "recorded.npy"
    np.save(path, ANSWERS)
    recorded = read_recorded(str(path))
    made = Answer((("scores", ANSWERS),), rows=3)
    found = expectation(recorded, recorded.row_for(0, "b3.npy", 0, 3), made, LABELS, 2)
    assert found.identical
    assert [name for _, name, _ in found.top][:1] == [LABELS[int(ANSWERS[0].argmax())]]
    moved = ANSWERS.copy()
    moved[2] = np.roll(moved[2], 1)
    found = expectation(recorded, recorded.row_for(0, "b3.npy", 0, 3), Answer((("s", moved),), rows=3), LABELS, 2)
    assert (found.within, found.top1_changed) == (False, True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.json", b'{"predictions": [[1, [2]]]}', "uneven"),
        ("x.json", b'{"predictions": [{"a": [1, "x"]}]}', "no number"),
        ("x.json", b"[" * 100_000, "no JSON"),
        ("x.json", b'{"predictions": [' + b"[" * 40 + b"1" + b"]" * 40 + b"]}", "nested too deeply"),
        ("x.json", b'{"predictions": []}', "no recorded answer"),
        ("x.json", b'{"predictions": [[]]}', "no recorded answer"),
        ("x.json", b'{"schema": "ckptui/predict/1", "images": []}', "no recorded answer"),
        ("x.json", b'{"outputs": {"a": [1, 2], "b": [1]}}', "different numbers of rows"),
        ("x.csv", b"0.1,0.2\n0.1,dog\n", "no number"),
        ("x.txt", b"", "no recorded answer"),
        ("x.bin", b"\x00\x01\x02", "no text and no array"),
        ("x.npy", b"\x93NUMPY\x01\x00\x10\x00garbage", "no readable .npy"),
    ],
)
def test_what_holds_no_answers_is_refused_in_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_recorded(str(path))


def test_a_pickle_is_never_opened_and_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CkptuiError, match="pickle"):
        read_recorded(str(path))
    with pytest.raises(NoSuchPath):
        read_recorded(str(tmp_path / "nothing.npy"))
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(UsageError):
        read_recorded(str(huge))
