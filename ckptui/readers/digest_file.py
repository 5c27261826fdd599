"""A digest as a file, or on standard input: told by its content, since it comes from another box under any name."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from typing import BinaryIO

from ckptui.core.digest import Digest
from ckptui.core.digest_text import MAX_BYTES, read_digest
from ckptui.errors import UsageError

_MARK = b'"ckptui/'
"""What every document of ckptui's begins its schema with."""
_HEAD = 4096
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Some shells write what is redirected into a file as UTF-16."""


def digest_or_none(path: str) -> Digest | None:
    """The digest in the file at `path`, `-` for standard input; None where there is something else, or nothing.

    Raises:
        UsageError: a digest that can't be used, see `read_digest`; standard input that is none.
    """
    if path == "-":
        content = _all_of(sys.stdin.buffer, "standard input")
        if not _is_ours(content):
            raise UsageError("standard input is no digest", "Make one with `ckptui digest`.")
        return read_digest(content, "standard input")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
            if not _opens_an_object(head):
                return None
            content = head + _all_of(stream, path, len(head))
    except (OSError, ValueError):
        return None
    return read_digest(content, path) if _is_ours(content) else None


def _all_of(stream: BinaryIO, name: str, before: int = 0) -> bytes:
    content = stream.read(MAX_BYTES + 1 - before)
    if len(content) + before > MAX_BYTES:
        raise UsageError(f"{name}: more than {MAX_BYTES >> 20} MB, too large for a digest")
    return content


def _opens_an_object(head: bytes) -> bool:
    for mark in _BYTE_ORDER_MARKS:
        head = head.removeprefix(mark)
    return head.lstrip(b" \t\r\n\0")[:1] == b"{"


def _is_ours(content: bytes) -> bool:
    if not _opens_an_object(content[:_HEAD]):
        return False
    plain = content if not content.startswith(_BYTE_ORDER_MARKS[1:]) else content.replace(b"\0", b"")
    return _MARK in plain
