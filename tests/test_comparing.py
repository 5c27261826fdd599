"""`diff` and `digest` in pipes: what is printed, what counts as a difference, exit codes; calls in this process."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui import comparing
from ckptui.session import Session
from tests.places import SAMPLES, needs_samples
from tests.readers.make_bundle import strings, write_bundle
from tests.test_contract import kept, sample, told

FOUR, FIVE = "digits/ckpt-4", "digits/ckpt-5"
CONV = (3, 3, 4, 8)


@pytest.fixture(scope="module", autouse=True)
def _one_session() -> Iterator[None]:
    """The reader children of the first call serve all others."""
    with Session() as shared, pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "Session", lambda: contextlib.nullcontext(shared))
        yield


def values(seed: int, shape: tuple[int, ...] = CONV) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two saves with a pair of every status that two healthy saves can have, and known distances."""
    folder = tmp_path_factory.mktemp("pair")
    one = values(1)
    common = {"same/kernel": values(0), "near/kernel": one, "far/kernel": values(2), "reshaped/kernel": values(3)}
    a = {**common, "wide/kernel": values(4), "gone/kernel": values(5), "Adam/m": values(6)}
    b = {
        **common,
        "near/kernel": one * np.float32(1 + 2**-20),
        "far/kernel": values(2) * np.float32(1.5),
        "reshaped/kernel": values(3, (3, 3, 8, 8)),
        "wide/kernel": values(4).astype("f8"),
        "new/kernel": values(7),
        "Adam/m": values(8),
    }
    write_bundle(folder / "a-1", a)
    write_bundle(folder / "b-2", b)
    return str(folder / "a-1"), str(folder / "b-2")


def rows_of(out: str) -> dict[str, str]:
    """The rows of the tables by name."""
    return {line.split()[0]: line for line in out.splitlines() if "/kernel" in line}


# ------------------------------------------------------------------ text


def test_the_page_of_a_diff(pair: tuple[str, str]) -> None:
    code, out, err = told("diff", *pair)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].split() == ["A", "a-1", "tf-checkpoint", "step", "1", pair[0]]
    assert lines[1].split() == ["B", "b-2", "tf-checkpoint", "step", "2", pair[1]]
    assert lines[2] == ""
    assert re.match(r"[A-Z][\w -]+( \((likely|possible)\))?: ", lines[3])
    rows = rows_of(out)
    assert "same/kernel" not in rows
    order = list(rows)
    assert order.index("reshaped/kernel") < order.index("far/kernel") < order.index("near/kernel")
    assert "axis 2: 4 against 8" in rows["reshaped/kernel"]
    assert "float32 against float64" in rows["wide/kernel"]
    assert rows["gone/kernel"].split()[1:4] == ["only", "in", "A"]
    assert "float32 3×3×4×8" in rows["gone/kernel"]
    assert "0.5" in rows["far/kernel"].split()
    # weights come first
    assert out.index("near/kernel") < out.index("Adam/m")
    assert "1 identical (not shown)" in out


def test_no_line_of_the_table_is_wider_than_100_columns(tmp_path: Path) -> None:
    names = ["/".join(["block"] * 30) + f"/conv_{n}/kernel" for n in range(4)]
    write_bundle(tmp_path / "a", {n: values(0) for n in names})
    write_bundle(tmp_path / "b", {n: values(1) for n in names[:2]} | {n: values(1, (1, 1, 4, 8)) for n in names[2:]})
    _, out, _ = told("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    rows = [line for line in out.splitlines() if "kernel" in line and "…" in line]
    assert len(rows) == 4
    assert max(map(len, rows)) <= 100
    # both ends of a name stay, so that rows can be told apart
    assert [re.findall(r"\d/kernel", row)[0] for row in sorted(rows)] == [f"{n}/kernel" for n in range(4)]


def test_much_training_state_is_counted_and_shown_when_asked_for(tmp_path: Path) -> None:
    weights = {"w/kernel": values(0)}
    slots = {f"layer{n}/kernel/Adam": values(n) for n in range(12)}
    write_bundle(tmp_path / "a", {**weights, **slots, "global_step": np.int64(100).reshape(())})
    moved = {name: value * np.float32(2) for name, value in slots.items()}
    write_bundle(tmp_path / "b", {**weights, **moved, "global_step": np.int64(200).reshape(())})
    both = str(tmp_path / "a"), str(tmp_path / "b")
    _, out, _ = told("diff", *both)
    assert "12 optimizer slots changed, by 1 to 1" in out
    assert "global_step 100 → 200" in out
    assert "layer3/kernel/Adam" not in out
    for asked in (("--match", "Adam"), ("--only", "changed")):
        assert told("diff", *both, *asked)[1].count("/kernel/Adam") == 12
    assert "1 slot" not in out


@needs_samples
def test_samples_are_told_by_the_names_people_know() -> None:
    code, out, _ = told("diff", sample(FOUR), sample(FIVE))
    assert code == 1
    assert "VARIABLE_VALUE" not in out
    assert {"conv1/kernel", "dense/kernel", "bn1/gamma"} <= {line.split()[0] for line in out.splitlines() if line}
    assert "The same run" in out
    assert max(map(len, (line for line in out.splitlines() if not line.startswith(("A ", "B "))))) <= 100
    code, out, _ = told("diff", sample(FIVE), sample("digits.keras"), "--match", "conv|bn|dense")
    assert "by full name" in out or "by weight path" in out or "by layer order" in out


def test_names_from_files_are_harmless(tmp_path: Path) -> None:
    name = "e\x1b[31m\u202e|`x`\n/kernel"
    write_bundle(tmp_path / "a", {name: values(0)})
    write_bundle(tmp_path / "b", {name: values(1)})
    both = str(tmp_path / "a"), str(tmp_path / "b")
    assert kept("diff", *both)[1]["pairs"][0]["a"] == name
    for asked in ((), ("--markdown",)):
        _, out, _ = told("diff", *both, *asked)
        assert not {"\x1b", "\u202e"} & set(out)
    row = next(line for line in out.splitlines() if line.startswith("|") and "kernel" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
    assert "`" not in row


# ------------------------------------------------------------------ --only


def test_only_filters_what_is_printed_and_nothing_else(pair: tuple[str, str]) -> None:
    _, whole = kept("diff", *pair)
    for asked, statuses in (
        (["--only", "changed"], {"changed"}),
        (["--only", "changed,only-a"], {"changed", "only-a"}),
        (["--only", "only-b", "--only", "identical, only-a"], {"only-a", "only-b", "identical"}),
        (["--only", "shape-changed,dtype-changed"], {"shape-changed", "dtype-changed"}),
        (["--only", "unreadable"], set()),
    ):
        code, document = kept("diff", *pair, *asked)
        assert code == 1
        assert {p["status"] for p in document["pairs"]} == statuses
        assert document["pairs"] == [p for p in whole["pairs"] if p["status"] in statuses]
        assert (document["summary"], document["relation"]) == (whole["summary"], whole["relation"])
    assert set(rows_of(told("diff", *pair, "--only", "identical")[1])) == {"same/kernel"}
    assert set(rows_of(told("diff", *pair, "--only", "only-a,only-b")[1])) == {"gone/kernel", "new/kernel"}
    assert "only" not in whole


def test_only_of_what_is_no_status(pair: tuple[str, str]) -> None:
    for wrong in ("chnaged", "", "changed,", "CHANGED"):
        code, document = kept("diff", *pair, "--only", wrong)
        assert code == 2
        assert "shape-changed" in document["hint"]


# ------------------------------------------------------------------ --fail-above


def exit_of(a: dict[str, Any], b: dict[str, Any], folder: Path, *asked: str) -> int:
    write_bundle(folder / "a", a)
    write_bundle(folder / "b", b)
    code, document = kept("diff", str(folder / "a"), str(folder / "b"), *asked)
    assert document.get("fail_above") == (float(asked[1]) if asked else None)
    text_code, out, _ = told("diff", str(folder / "a"), str(folder / "b"), *asked)
    assert text_code == code
    assert not asked or ("no difference above" in out) == (code == 0)
    return code


def test_a_threshold_lets_small_distances_pass(tmp_path: Path) -> None:
    near = values(1) * np.float32(1 + 2**-20)
    a, b = {"w": values(0), "v": values(1)}, {"w": values(0), "v": near}
    assert exit_of(a, b, tmp_path) == 1
    assert exit_of(a, b, tmp_path, "--fail-above", "1e-6") == 0
    assert exit_of(a, b, tmp_path, "--fail-above", "1e-7") == 1
    assert exit_of(a, b, tmp_path, "--fail-above", "0") == 1
    assert exit_of(a, a, tmp_path, "--fail-above", "0") == 0
    # values equal after widening
    wide = {"w": values(0).astype("f8"), "v": values(1)}
    assert exit_of(a, wide, tmp_path, "--fail-above", "1e-6") == 0
    assert exit_of(a, wide, tmp_path) == 1


@pytest.mark.parametrize(
    "b",
    [
        {"w": values(0)},
        {"w": values(0), "v": values(1), "u": values(1)},
        {"w": values(0, (3, 3, 8, 8)), "v": values(1)},
        {"w": values(0), "v": np.full(CONV, np.nan, "f4")},
        {"w": values(0), "v": np.where(np.arange(288).reshape(CONV) == 7, np.float32(np.inf), values(1))},
        {"w": values(0), "v": np.where(np.arange(288).reshape(CONV) == 7, np.float32(np.nan), values(1))},
        {"w": values(0), "v": strings([b"a"])},
    ],
    ids=["only-a", "only-b", "reshaped", "all NaN", "one infinite", "one NaN", "another kind"],
)
def test_what_no_distance_tells_counts_above_any_threshold(b: dict[str, Any], tmp_path: Path) -> None:
    assert exit_of({"w": values(0), "v": values(1)}, b, tmp_path, "--fail-above", "1e9") == 1


def test_a_change_from_zeros_and_other_strings_count(tmp_path: Path) -> None:
    zeros = {"w": np.zeros(8, "f4"), "s": strings([b"a"])}
    assert exit_of(zeros, {**zeros, "w": np.ones(8, "f4")}, tmp_path, "--fail-above", "1e9") == 1
    assert exit_of(zeros, {**zeros, "s": strings([b"b"])}, tmp_path, "--fail-above", "1e9") == 1
    assert exit_of(zeros, {**zeros, "w": -np.zeros(8, "f4")}, tmp_path, "--fail-above", "0") == 0


@needs_samples
def test_a_damaged_side_fails_whatever_the_threshold() -> None:
    whole, damaged = sample("broken/flipped_bit/ckpt-1"), sample("broken/flipped_bit/ckpt-2")
    assert kept("diff", whole, damaged, "--fail-above", "1e9")[0] == 1


@pytest.mark.parametrize("wrong", ["-1", "nan", "inf", "much", "-1e-9", ""])
def test_a_threshold_is_a_distance(wrong: str, pair: tuple[str, str]) -> None:
    code, document = kept("diff", *pair, "--fail-above", wrong)
    assert code == 2
    assert "fail-above" in document["detail"]


# ------------------------------------------------------------------ Markdown


def test_a_ticket(pair: tuple[str, str]) -> None:
    code, out, _ = told("diff", *pair, "--markdown")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "## `a-1` → `b-2`"
    assert re.fullmatch(r"\*\*[\w -]+( \(\w+\))?\*\*: .+", lines[2])
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}
    names = [line.split("`")[1] for line in table[2:]]
    assert names[-1] == "Adam/m"
    assert names.index("far/kernel") < names.index("near/kernel")
    assert "same/kernel" not in names
    assert kept("diff", *pair, "--markdown")[0] == 2


def test_a_long_ticket_is_cut_and_says_so(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {f"layer_{n}/kernel": values(n) for n in range(60)})
    scaled = {f"layer_{n}/kernel": values(n) * np.float32(1 + n / 100) for n in range(60)}
    write_bundle(tmp_path / "b", scaled)
    _, out, _ = told("diff", str(tmp_path / "a"), str(tmp_path / "b"), "--markdown")
    names = re.findall(r"^\| `layer_(\d+)", out, re.MULTILINE)
    assert names == [str(n) for n in range(59, 19, -1)]
    assert "and 19 more" in out


# ------------------------------------------------------------------ digests


@needs_samples
def test_a_digest_stands_for_its_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = told("digest", sample(FIVE))
    assert (code, err) == (0, "")
    assert kept("digest", sample(FIVE)) == (0, json.loads(out))
    (tmp_path / "five.txt").write_text(out)
    digest = str(tmp_path / "five.txt")
    assert kept("diff", digest, sample(FIVE))[0] == 0
    code, document = kept("diff", digest, sample(FOUR))
    _, plain = kept("diff", sample(FIVE), sample(FOUR))
    assert code == 1
    assert document["summary"] == plain["summary"]
    assert kept("diff", sample(FOUR), digest, "--only", "identical", "--fail-above", "0.5")[0] == 1
    shown = told("diff", digest, sample(FOUR))[1]
    assert f"(digest: {digest})" in shown.splitlines()[0]

    class Stdin:
        buffer = io.BytesIO(out.encode())

    monkeypatch.setattr("sys.stdin", Stdin())
    assert kept("diff", "-", sample(FIVE))[0] == 0
    assert kept("diff", "-", "-")[0] == 2


@needs_samples
def test_the_digest_of_a_damaged_save_is_printed_and_fails() -> None:
    code, document = kept("digest", sample("broken/flipped_bit/ckpt-2"))
    assert code == 1
    assert "checksum-mismatch" in {f["code"] for f in document["findings"]}
    assert told("digest", "nowhere") == (2, "", told("digest", "nowhere")[2])
    assert kept("digest", "nowhere")[0] == 2


# ------------------------------------------------------------------ runs


@needs_samples
def test_of_two_runs_their_latest_saves(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "digits", tmp_path / "again")
    code, document = kept("diff", sample("digits"), str(tmp_path / "again"))
    assert code == 0
    assert [document[side]["label"] for side in "ab"] == ["ckpt-5", "ckpt-5"]
    assert "origin" not in document
    _, _, err = told("diff", sample("digits"), str(tmp_path / "again"))
    assert err.count("its latest save, ckpt-5") == 2
    # two saves of one run are two saves
    code, document = kept("diff", sample("digits/ckpt-1"), sample("digits/ckpt-2"))
    assert [document[side]["label"] for side in "ab"] == ["ckpt-1", "ckpt-2"]
    # and one of its own saves is held against its latest
    code, document = kept("diff", sample("digits"), sample("digits/ckpt-2"))
    assert [document[side]["label"] for side in "ab"] == ["ckpt-5", "ckpt-2"]


@needs_samples
def test_the_save_an_export_was_made_from(tmp_path: Path) -> None:
    for name in ("digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model"):
        _, document = kept("diff", sample("digits"), sample(name), "--match", "conv|bn|dense")
        assert document["a"]["label"] == "ckpt-5", name
        origin = document["origin"]
        assert (origin["answer"], Path(origin["save"]).name) == ("yes", "ckpt-5"), origin
        assert len(origin["candidates"]) == 5
    code, document = kept("diff", sample("digits.keras"), sample("digits"))
    assert (document["a"]["kind"], document["b"]["label"]) == ("keras-archive", "ckpt-5")
    _, out, _ = told("diff", sample("digits"), sample("digits.keras"))
    assert "ckpt-5" in out.splitlines()[3]
    assert "? Yes" in out.splitlines()[3]
    stranger = tmp_path / "stranger"
    write_bundle(stranger, {"conv1/kernel": values(0, (3, 3, 1, 32)), "dense/kernel": values(1, (384, 10))})
    code, document = kept("diff", sample("digits"), str(stranger))
    assert code == 1
    assert document["origin"]["answer"] == "no"
    _, out, _ = told("diff", sample("digits"), str(stranger), "--markdown")
    assert "? No" in out


def test_equal_weights_that_are_a_difference_all_the_same_say_why(tmp_path: Path) -> None:
    both = {"conv/kernel": values(0), "conv/bias": values(1, (8,))}
    write_bundle(tmp_path / "a", both)
    write_bundle(tmp_path / "b", {**both, "save_counter": np.int64(3), "Adam/m/conv/kernel": values(2)})
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    code, out, _ = told("diff", a, b)
    assert code == 1
    last = out.splitlines()[-1]
    assert last.startswith("the weights are identical; what differs is training state: 1 ")
    assert "counter only in B" in last
    assert last in told("diff", a, b, "--markdown")[1].replace("\\", "")
    code, out, _ = told("diff", a, b, "--weights")
    assert code == 0
    assert "training state" not in out
    code, document = kept("diff", a, b, "--weights")
    assert (code, document["weights_only"], document["summary"]["identical"]) == (0, True, 2)
    assert {p["role"] for p in document["pairs"]} == {"kernel", "bias"}
    assert "weights_only" not in kept("diff", a, b)[1]
    # with a changed weight nothing needs explaining
    write_bundle(tmp_path / "c", {**both, "conv/bias": values(3, (8,)), "save_counter": np.int64(4)})
    assert "what differs is" not in told("diff", a, str(tmp_path / "c"))[1]


@pytest.mark.parametrize("asked", [(), ("--weights",)])
def test_weights_alone_through_a_digest(tmp_path: Path, asked: tuple[str, ...]) -> None:
    both = {"conv/kernel": values(0)}
    write_bundle(tmp_path / "a", {**both, "save_counter": np.int64(1)})
    write_bundle(tmp_path / "b", {**both, "save_counter": np.int64(2)})
    (tmp_path / "a.json").write_text(told("digest", str(tmp_path / "a"))[1])
    assert told("diff", str(tmp_path / "a.json"), str(tmp_path / "b"), *asked)[0] == (0 if asked else 1)


def test_a_nan_that_appears_is_what_the_row_says_first(tmp_path: Path) -> None:
    a, b = values(0), values(0)
    b.flat[7] = np.nan
    name = "a/very/long/name/of/a/layer/that/takes/all/the/room/there/is/conv/kernel"
    write_bundle(tmp_path / "a", {name: a, "zero/bias": np.zeros(4, "f4")})
    write_bundle(tmp_path / "b", {name: b, "zero/bias": -np.zeros(4, "f4")})
    out = told("diff", str(tmp_path / "a"), str(tmp_path / "b"))[1]
    assert "NaN appeared in 1 value, 1 of 288" in out
    assert "only the sign of zero" in out


def test_the_second_of_an_export_is_no_step() -> None:
    from dataclasses import replace

    from ckptui.comparison_output import diff_markdown, diff_text
    from ckptui.comparison_view import DiffView
    from ckptui.core.model import Artifact, DiffReport, Finding, Listing

    export = Artifact("/r/export/1795295261", "saved-model", "1795295261", 1795295261, 1, 1, 0, 0, 0.0)
    step = replace(export, path="/r/m-300", label="m-300", step=300)
    odd = [Finding("name-hostile", "warning", "A name", one.path) for one in (export, step)]
    report = DiffReport(step, export, (), {"verdict": "related", "certainty": "possible", "evidence": {}}, tuple(odd))
    view = DiffView(report, Listing(step, ()), Listing(export, ()))
    assert "step 300" in diff_text(view)[0]
    assert "step" not in diff_text(view)[1]
    ticket = "\n".join(diff_markdown(view))
    assert "step 1795295261" not in ticket
    assert "`name-hostile` in `m-300`" in ticket
    assert "`name-hostile` in `1795295261`" in ticket


def test_graphs_beside_checkpoints_are_compared(tmp_path: Path) -> None:
    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    for name, padding in (("a", b"SAME"), ("b", b"VALID"), ("c", b"SAME")):
        write_bundle(tmp_path / name, {"conv/kernel": values(0)})
        attribute = field(5, field(1, b"padding") + field(2, field(2, padding)))
        node = field(1, b"net/conv/Conv2D") + field(2, b"Conv2D") + attribute
        (tmp_path / f"{name}.meta").write_bytes(field(2, field(1, node)))
    code, document = kept("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert [f["title"] for f in document["findings"] if f["code"] == "config-changed"] == [
        "conv: padding same against valid"
    ]
    assert code == 1
    assert kept("diff", str(tmp_path / "a"), str(tmp_path / "c"))[0] == 0
    (tmp_path / "c.meta").write_bytes(b"\xff" * 40)
    assert "config-changed" not in told("diff", str(tmp_path / "b"), str(tmp_path / "c"))[1]
