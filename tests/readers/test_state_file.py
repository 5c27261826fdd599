"""The `checkpoint` state file in all its spellings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.errors import NoSuchPath
from ckptui.readers.state_file import parse_state, read_state
from tests.places import ESTIMATOR, needs_estimator

MANAGER = b"""model_checkpoint_path: "ckpt-2"
all_model_checkpoint_paths: "ckpt-1"
all_model_checkpoint_paths: "ckpt-2"
all_model_checkpoint_timestamps: 1700000000.25
all_model_checkpoint_timestamps: 1.7000001e+09
last_preserved_timestamp: 1699999999.5
"""


def test_a_manager_writes_names_times_and_the_last_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(MANAGER)
    state = read_state(tmp_path / "checkpoint")
    assert state.latest == str(tmp_path / "ckpt-2")
    assert state.all_paths == (str(tmp_path / "ckpt-1"), str(tmp_path / "ckpt-2"))
    assert state.stored_paths == ("ckpt-1", "ckpt-2")
    assert state.timestamps == (1700000000.25, 1700000100.0)
    assert state.last_preserved == 1699999999.5
    assert state.problem == ""


@needs_estimator
def test_an_estimator_writes_names_alone() -> None:
    state = read_state(ESTIMATOR / "checkpoint")
    assert state.latest == str(ESTIMATOR / "model.ckpt-30")
    assert len(state.all_paths) == 3
    assert state.timestamps == ()


def test_line_ends_and_spaces_do_not_matter() -> None:
    for text in (MANAGER.replace(b"\n", b"\r\n"), MANAGER.replace(b": ", b":"), MANAGER.replace(b"\n", b" ")):
        assert parse_state(text, "/d") == parse_state(MANAGER, "/d")


@pytest.mark.parametrize(
    ("text", "latest"),
    [
        (rb'model_checkpoint_path: "/abs/ckpt-1"', "/abs/ckpt-1"),
        (rb'model_checkpoint_path: "./ckpt-1"', "/d/ckpt-1"),
        (rb'model_checkpoint_path: "../run/ckpt-1"', "/run/ckpt-1"),
        (rb"model_checkpoint_path: 'ckpt'", "/d/ckpt"),
        (rb'model_checkpoint_path: "a\"b\\c\n\303\251"', '/d/a"b\\c\né'),
        (rb'model_checkpoint_path: "caf\xc3\xa9"', "/d/café"),
        ('model_checkpoint_path: "é"'.encode(), "/d/é"),
        (b'# kept\nmodel_checkpoint_path: "x" # here', "/d/x"),
        (b'model_checkpoint_path: "sub/"', "/d/sub/"),
        (b'unknown_field: 7, model_checkpoint_path: "x";', "/d/x"),
    ],
)
def test_paths_are_unescaped_and_joined_with_the_folder(text: bytes, latest: str) -> None:
    state = parse_state(text, "/d")
    assert state.latest == latest
    assert state.problem == ""


def test_names_that_are_no_text_survive() -> None:
    state = parse_state(rb'model_checkpoint_path: "\377"', "/d")
    assert state.latest == "/d/\udcff"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "empty"),
        (b" \n", "blanks"),
        (b"\0" * 64, "zeros"),
        (b"<!DOCTYPE html>", "byte 0"),
        (b'model_checkpoint_path: "ckpt-1\n', "byte 0"),
        (b'all_model_checkpoint_paths: "ckpt-1"\n', "latest"),
        (MANAGER[:60], "byte 32"),
    ],
)
def test_what_can_not_be_read_is_said(text: bytes, word: str) -> None:
    assert word in parse_state(text, "/d").problem


def test_what_comes_before_the_damage_is_kept() -> None:
    state = parse_state(MANAGER[:60], "/d")
    assert state.latest == "/d/ckpt-2"


def test_absent_is_an_error_and_oversized_a_problem(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPath):
        read_state(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").write_bytes(b"x" * (1 << 23))
    assert "bytes" in read_state(tmp_path / "checkpoint").problem


@given(st.binary(max_size=120))
def test_no_bytes_raise(data: bytes) -> None:
    parse_state(data, "/d")
    parse_state(MANAGER[:40] + data, "/d")
