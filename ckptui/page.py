"""How wide a printed page is, and what is folded to it: sentences, facts in a row, tables with notes."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from ckptui.core.report import table

WIDTH = 100
"""Columns of a page that no terminal shows, and of sentences on a wide one."""
LEAST = 40
"""Columns below which nothing is folded any further."""


def on_terminal() -> bool:
    """Somebody reads it as it is printed."""
    return sys.stdout.isatty()


def page_width() -> int:
    """Columns of the terminal that stdout is; 100 for files and pipes."""
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, LEAST) if on_terminal() else WIDTH


def folded(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """A sentence folded to the page; `first` and `rest` stand before its lines. Make untrusted text harmless first."""
    return textwrap.wrap(
        text,
        min(width, WIDTH),
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def flowing(parts: Iterable[str], width: int, first: str, rest: str, gap: str = "  ") -> list[str]:
    """Facts, `gap` apart, as many in a line as fit; one that is longer than a line is folded."""
    lines, line = list[str](), first
    for part in parts:
        fresh = line in (first, rest)
        if not fresh and len(line) + len(gap) + len(part) > width:
            lines.append(line)
            line, fresh = rest, True
        if fresh and len(line) + len(part) > width:
            *whole, line = folded(part, width, line, rest) or [line]
            lines += whole
        else:
            line += part if fresh else gap + part
    return [*lines, line.rstrip()]


def refolded(lines: Iterable[str], width: int) -> list[str]:
    """Lines that are too long, folded under their own indentation; the others as they are."""
    found: list[str] = []
    for line in lines:
        text = line.lstrip(" ")
        indent = " " * (len(line) - len(text))
        more = indent + ("   " if text.startswith("-> ") else "  " if indent == "" else "")
        found += [line] if len(line) <= width else folded(text, width, indent, more)
    return found


def noted_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], notes: int, width: int, right: Iterable[int] = ()
) -> list[str]:
    """A table whose column number `notes` holds words; those without room go under their row, folded.

    Cells are taken as they are: pass untrusted text through `safe` first.
    """
    right = tuple(right)
    whole = table(headers, rows, right)
    if max(map(len, whole)) <= width:
        return whole

    def without(row: Sequence[str]) -> list[str]:
        return [*row[:notes], "", *row[notes + 1 :]]

    room = width - max(len(line.rstrip()) for line in table(headers, [without(row) for row in rows], right))
    if notes == len(headers) - 1:
        room -= 2
    kept = [row if len(row[notes]) <= room else without(row) for row in rows]
    head, *lines = table(headers, kept, right)
    found = [head]
    for line, row, short in zip(lines, rows, kept, strict=True):
        found.append(line)
        if row[notes] != short[notes]:
            found += folded(row[notes], width, "    ")
    return found
