"""The `checkpoint` file of a training folder: which save is the latest, which are kept, and when they were made.

A text-format protobuf (`CheckpointState`): `name: value` pairs, strings in quotes with C escapes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ckptui.errors import ChangedWhileReading, Damaged
from ckptui.readers.source import read_whole

CAP = 1 << 22
"""Bytes of the largest state file that is read."""

_PAIR = re.compile(
    rb"""\s*(?:\#[^\n]*|([A-Za-z_][A-Za-z0-9_]*)\s*:\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"';,{}]+)\s*[;,]?)"""
)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)")
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@dataclass(frozen=True, slots=True)
class State:
    """What a state file says. Paths are prefixes, joined with the file's own folder where they are relative."""

    latest: str = ""
    """The save to restore; empty where the file names none."""
    all_paths: tuple[str, ...] = ()
    """The saves that are kept, oldest first."""
    timestamps: tuple[float, ...] = ()
    """Seconds since the epoch for each of `all_paths`; only CheckpointManager writes them."""
    last_preserved: float | None = None
    problem: str = ""
    """Why it can't be read, or not wholly."""
    stored_latest: str = ""
    """`latest` as it stands in the file."""
    stored_paths: tuple[str, ...] = ()
    """`all_paths` as they stand in the file."""


def read_state(path: str | os.PathLike[str]) -> State:
    """Read a state file; raises NoSuchPath where there is none, and nothing else: trouble goes into `problem`."""
    path = os.fspath(path)
    try:
        data = read_whole(path, CAP)
    except (Damaged, ChangedWhileReading) as error:
        return State(problem=error.detail)
    return parse_state(data, os.path.dirname(path))


def parse_state(data: bytes, folder: str) -> State:
    """The state in `data`, which lies in `folder`; never raises."""
    if not data.strip(b"\0 \t\r\n"):
        return State(problem="the file is empty" if not data else "the file holds nothing but blanks or zeros")
    latest, paths, stamps = "", [], []
    preserved: float | None = None
    problem = ""
    position, end = 0, len(data.rstrip())
    while position < end:
        found = _PAIR.match(data, position)
        if found is None:
            problem = f"not a `checkpoint` state file from byte {position} on"
            break
        position = found.end()
        name, value = found[1], found[2]
        if name == b"model_checkpoint_path":
            latest = _text(value)
        elif name == b"all_model_checkpoint_paths":
            paths.append(_text(value))
        elif name == b"all_model_checkpoint_timestamps":
            stamps.append(_number(value))
        elif name == b"last_preserved_timestamp":
            preserved = _number(value)
    if not problem and not latest:
        problem = "it names no latest save"
    return State(
        latest=_join(folder, latest),
        all_paths=tuple(_join(folder, path) for path in paths),
        timestamps=tuple(stamps),
        last_preserved=preserved,
        problem=problem,
        stored_latest=latest,
        stored_paths=tuple(paths),
    )


def _join(folder: str, path: str) -> str:
    """The prefix; a slash at its end stays, for the empty file name is a legal prefix."""
    if not path:
        return ""
    return os.path.normpath(os.path.join(folder, path)) + ("/" if path.endswith("/") else "")


def _text(value: bytes) -> str:
    """The path in a quoted string; file names that are no UTF-8 survive as Python paths do."""
    bare = value[1:-1] if value[:1] in (b'"', b"'") else value
    return os.fsdecode(_ESCAPE.sub(_unescape, bare))


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code[:1] in b"01234567":
        return bytes([int(code, 8) & 0xFF])
    if code[:1] in b"xX" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    return _LETTERS.get(code, code)


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
