"""Every document of every command keeps the contract of its schema: keys, types, and what its numbers say together."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.cli import run
from ckptui.core.model import Predicted, PredictReport, Run
from ckptui.predict_output import predict_document
from tests.contract import problems
from tests.places import ROOT, SAMPLES, needs_samples
from tests.readers.make_bundle import strings, write_bundle


def told(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a call in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(list(arguments))
    return code, out.getvalue(), err.getvalue()


def kept(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a `--json` call, after a look at the contract."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    code, out, err = told(*arguments, "--json")
    document: dict[str, Any] = json.loads(out, parse_constant=refuse)
    assert problems(document) == []
    assert (code == 2) == (document["schema"] == "ckptui/error/1")
    assert len(err.splitlines()) == (1 if code == 2 else len(err.splitlines()))
    if code == 1 and arguments[0] != "diff":
        assert any(f["severity"] == "error" for f in document["findings"])
    return code, document


def sample(name: str) -> str:
    return str(SAMPLES / name)


@needs_samples
@pytest.mark.parametrize("command", ["ls", "show", "stats", "check", "filters"])
@pytest.mark.parametrize(
    "name",
    [
        "digits/ckpt-5",
        "digits.keras",
        "digits_saved_model",
        "broken/missing_index/ckpt-2",
        "broken/truncated.h5",
        "broken/zero_filled_tail/ckpt-2",
    ],
)
def test_documents_of_samples(command: str, name: str) -> None:
    code, document = kept(command, sample(name))
    assert document["schema"] == f"ckptui/{command}/1"
    # everything broken here shows without a look at tensor bytes
    assert code == int(name.startswith("broken"))


@needs_samples
def test_the_document_of_a_diff() -> None:
    code, document = kept("diff", sample("digits/ckpt-4"), sample("digits/ckpt-5"))
    assert code == 1
    assert {p["status"] for p in document["pairs"]} == {"changed", "identical"}
    assert kept("diff", sample("digits.h5"), sample("digits.h5"))[0] == 0


@needs_samples
def test_a_flipped_bit_is_exit_1_wherever_the_bytes_are_read(tmp_path: Path) -> None:
    save, whole = sample("broken/flipped_bit/ckpt-2"), sample("broken/flipped_bit/ckpt-1")
    _, listing = kept("check", save)
    name = next(f["tensor"] for f in listing["findings"] if f["code"] == "checksum-mismatch")
    calls = [
        ("check", save), ("stats", save), ("filters", save), ("show", save, name), ("diff", whole, save),
        ("export", save, "-o", str(tmp_path / "a.npz")),
    ]  # fmt: skip
    for call in calls:
        code, document = kept(*call)
        assert code == 1, call
        assert "checksum-mismatch" in {f["code"] for f in document["findings"]}, call
    assert kept("check", "--quick", save)[0] == 0
    assert kept("check", "--fail-on", "never", save)[0] == 0


@pytest.fixture
def odd(tmp_path: Path) -> str:
    """A save with the dtypes and values a contract is easily broken by."""
    write_bundle(
        tmp_path / "odd",
        {
            "nan": np.array([1, np.nan, np.inf, -np.inf, 0], "f4"),
            "only-nan": np.full(3, np.nan, "f4"),
            "empty": np.zeros((0, 4), "f4"),
            "scalar": np.float32(2).reshape(()),
            "big": np.array([-(2**63), 2**63 - 1], "i8"),
            "huge": np.array([2**64 - 1, 0], "u8"),
            "bool": np.array([True, False]),
            "complex": np.array([1 + 2j], "c8"),
            "words": strings([b"a", b"\xff"]),
            "e\x1b[31m\u202e/kernel": np.ones((3, 3, 1, 2), "f4"),
        },
    )
    return str(tmp_path / "odd")


def test_stats_of_odd_tensors(odd: str) -> None:
    code, document = kept("stats", odd)
    assert code == 1
    stats = {t["name"]: t["stats"] for t in document["tensors"]}
    assert [stats["nan"][key] for key in ("count", "finite", "nan", "posinf", "neginf", "zeros")] == [5, 2, 1, 1, 1, 1]
    assert [stats["nan"][key] for key in ("min", "max", "argmin", "argmax", "mean")] == [0, 1, 4, 0, 0.5]
    assert stats["only-nan"]["mean"] is None
    assert (stats["big"]["min"], stats["big"]["max"]) == (-(2**63), 2**63 - 1)
    assert stats["huge"]["max"] == 2**64 - 1
    assert stats["bool"]["zeros"] == 1
    assert stats["empty"] == {**dict.fromkeys(stats["empty"]), "count": 0}
    assert stats["words"] == {**dict.fromkeys(stats["words"]), "count": 2}
    assert stats["complex"] == {**dict.fromkeys(stats["complex"]), "count": 1}


def test_hostile_names_are_exact_in_json_and_harmless_in_text(odd: str) -> None:
    name = "e\x1b[31m\u202e/kernel"
    assert name in {t["name"] for t in kept("show", odd)[1]["tensors"]}
    assert kept("show", odd, name)[1]["tensors"][0]["name"] == name
    for command in ("show", "stats", "check", "filters"):
        _, out, err = told(command, odd)
        assert "\x1b" not in out + err
        assert "\u202e" not in out + err
    _, out, err = told("show", odd, name)
    assert "\x1b" not in out + err


def test_text_tables_of_short_names_fit_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "m-7", {"conv1/kernel": np.ones((3, 3, 1, 2), "f4"), "conv1/bias": np.zeros(2, "f4")})
    monkeypatch.chdir(tmp_path)
    for call in (("show", "m-7"), ("stats", "m-7"), ("filters", "m-7"), ("diff", "m-7", "m-7")):
        _, out, _ = told(*call)
        assert (
            max(map(len, (line for line in out.splitlines() if not line.startswith(("    ", "written by"))))) <= 80
        ), out


def test_a_pattern_that_matches_nothing_is_a_slip_of_the_pen(odd: str, tmp_path: Path) -> None:
    for call in (("stats", odd), ("diff", odd, odd), ("export", odd, "-o", str(tmp_path / "a.npz"))):
        code, document = kept(*call, "--match", "no such name")
        assert code == 2
        assert "no such name" in document["detail"]
        assert kept(*call, "--match", "[")[0] == 2
    assert [t["name"] for t in kept("stats", odd, "--match", "big|huge")[1]["tensors"]] == ["big", "huge"]


def test_what_looks_like_a_save_and_can_not_be_opened_is_exit_1(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").write_bytes(b"")
    for command in ("ls", "show", "stats", "check", "filters"):
        code, document = kept(command, str(tmp_path / "empty.h5"))
        assert code == 1, command
        assert [f["code"] for f in document["findings"]] == ["empty-file"]


def test_a_save_named_twice_is_counted_once(odd: str) -> None:
    assert kept("check", odd, f"{odd}.index")[1]["summary"]["artifacts"] == 1
    assert len(kept("ls", odd, os.path.dirname(odd))[1]["artifacts"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("ls", "no/such/place"),
        ("ls", "\udcff"),
        ("show", "a\0b"),
        ("frobnicate",),
        ("show", "--frobnicate", "x"),
        ("check", ".", "--fail-on", "sometimes"),
        ("diff", "a"),
        ("predict", "nowhere.keras", "nowhere.png"),
        ("predict", ".", "x.png", "--preprocess", "somehow"),
        ("predict", ".", "README.md", "--architecture", "nowhere"),
        ("export", "nowhere", "-o", "x.npz"),
    ],
)
def test_what_can_not_be_done_is_an_error_document_and_one_line(arguments: tuple[str, ...]) -> None:
    code, document = kept(*arguments)
    assert code == 2
    assert document["title"]
    _, out, err = told(*arguments)
    assert out == ""
    assert len(err.splitlines()) == 1


def test_the_document_of_a_prediction_whatever_the_numbers() -> None:
    runs = (
        Run("original", ((0, "a", float("nan")),), (float("nan"), float("inf")), None, None, 0.1),
        Run("repeat", (), (), None, None, 0.1, "it died"),
    )
    model = {"path": "m", "kind": "saved-model", "loader": "signature", "signature": None, "input": None}
    report = PredictReport({**model, "tensorflow": "2.21.0"}, (Predicted("i", "0..1", (1, 2, 2, 1), 0.0, 1.0, runs),))
    document = json.loads(json.dumps(predict_document(report), allow_nan=False))
    assert problems(document) == []
    assert document["images"][0]["runs"][0]["output"] == ["nan", "inf"]


@pytest.mark.tensorflow
@needs_samples
def test_the_document_of_a_real_prediction() -> None:
    code, document = kept("predict", sample("digits.keras"), sample("images/3.png"))
    assert code == 0
    names = [r["name"] for r in document["images"][0]["runs"]]
    assert names[0] == "original"
    assert {"flip-left-right", "flip-up-down", "repeat", "reload", "fresh-process"} <= set(names)
    assert document["images"][0]["runs"][0]["top"][0][1] == "three"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which $CKPTUI is the command."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CKPTUI": f"{sys.executable} -m ckptui", **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "stderr"),
    [
        ('$CKPTUI show "$SAVE" --json | true', 0, ""),
        ("$CKPTUI --help | true", 0, ""),
        ('$CKPTUI show "$SAVE" >&-', 0, ""),
        ('$CKPTUI show "$SAVE" --json >&-', 0, ""),
        ('$CKPTUI show "$SAVE" --json <&-', 0, ""),
        ("$CKPTUI show nowhere --json 2>&-", 2, ""),
        ('$CKPTUI show "$SAVE" --json >/dev/full', 2, "No space left"),
    ],
)
def test_streams_that_are_closed_or_full(line: str, code: int, stderr: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"w": np.zeros(3, "f4")})
    done = shell(line, SAVE=str(tmp_path / "c"))
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == bool(stderr)
    assert stderr in done.stderr
    if done.stdout and "--json" in line:
        json.loads(done.stdout)


def test_a_closed_pipe_does_not_hide_what_was_found(odd: str) -> None:
    assert shell('$CKPTUI check "$SAVE" | true', SAVE=odd).returncode == 1


def test_numbers_keep_their_sign_where_the_encoding_lacks_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"w": np.array([-1.5, 2], "f4")})
    done = shell('$CKPTUI stats "$SAVE"', SAVE=str(tmp_path / "c"), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert " -1.5 " in done.stdout
    assert "?" not in done.stdout
