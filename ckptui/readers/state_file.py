"""The `checkpoint` file of a training folder: which save is the latest, which are kept, and when they were made.

A text-format protobuf (`CheckpointState`): `name: value` pairs, strings in quotes with C escapes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from ckptui.errors import ChangedWhileReading, Damaged
from ckptui.readers import magic
from ckptui.readers.source import read_whole

CAP = 1 << 22
"""Bytes of the largest state file that is read."""

_PAIR = re.compile(
    rb"""\s*(?:\#[^\n]*|([A-Za-z_][A-Za-z0-9_]*)\s*:\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"';,{}]+)\s*[;,]?)"""
)
_STATE = re.compile(rb"\s*(?:model_checkpoint_path|all_model_checkpoint_paths)\s*:\s*[\"']")
_NO_STATE = "not a `checkpoint` state file from byte 0 on"
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
    size: int = field(default=0, compare=False)
    """Bytes of the file."""
    looks_like: str = ""
    """What stands there instead, where that is recognised."""
    says: str = ""
    """Which of `core.sayings` TensorFlow answers with; empty where it can read the file."""


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
    blank = _instead(data)
    if blank is not None:
        problem, looks_like, says = blank
        return State(problem=problem, size=len(data), looks_like=looks_like, says=says)
    latest, paths, stamps = "", [], []
    preserved: float | None = None
    problem = says = ""
    position, end = 0, len(data.rstrip())
    while position < end:
        found = _PAIR.match(data, position)
        if found is None:
            problem, says = f"not a `checkpoint` state file from byte {position} on", "ignored-state"
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
        problem, says = "it names no latest save", "empty-state"
    if not _is_utf8(data):
        says = "undecoded-state"
    return State(
        latest=_join(folder, latest),
        all_paths=tuple(_join(folder, path) for path in paths),
        timestamps=tuple(stamps),
        last_preserved=preserved,
        problem=problem,
        stored_latest=latest,
        stored_paths=tuple(paths),
        size=len(data),
        looks_like="cut-off state file" if problem and latest else "",
        says=says,
    )


def is_state(head: bytes) -> bool:
    """Whether a file that begins with `head` is a state file, whatever its name."""
    return _STATE.match(head) is not None


def _instead(data: bytes) -> tuple[str, str, str] | None:
    """(problem, what it looks like, TensorFlow's saying) of bytes that are no text of ours at all."""
    if not data.strip(b" \t\r\n"):
        return "the file is empty" if not data else "the file holds nothing but blanks", "empty file", "empty-state"
    if not data.strip(b"\0 \t\r\n"):
        return f"the file is {len(data)} bytes of zeros", "zeros", "ignored-state"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it was saved as UTF-16 text", "UTF-16 text", "undecoded-state"
    if data.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark, which TensorFlow refuses", "UTF-8 text with a mark", "ignored-state"
    if magic.lfs_pointer(data) is not None:
        return f"{_NO_STATE}: a git-lfs pointer", "git-lfs pointer", "ignored-state"
    if magic.is_page(data[:4096]):
        return f"{_NO_STATE}: a web page or error message", "web page or error message", "ignored-state"
    other = magic.wrapped(data[:512])
    if other:
        says = "ignored-state" if _is_utf8(data) else "undecoded-state"
        return f"{_NO_STATE}, but {other}", other, says
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
