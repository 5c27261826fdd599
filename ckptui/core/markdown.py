"""Text from files inside Markdown: whatever it holds, it reads as itself and never as markup, link or HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptui.core.text import safe

_PLAIN = re.compile(r"[\w./:+=,()\[\]{}@$%^&*#~?!;' -]+", re.ASCII)
"""What may stand in a code span as it is: there only a backtick, a pipe or a backslash could end or split it."""
_MARKUP = re.compile(r"[\\`*\[\]<>&|~#@${}]|(?<![^\W_])_|_(?![^\W_])|:(?=\S)|(?<=www)\.", re.IGNORECASE)
"""What begins emphasis, code, links, HTML, entities, columns, mentions, references, formulas or emoji somewhere."""


def markdown_text(text: str, limit: int = 400) -> str:
    """The text as running words: every character that could mean something to a renderer as a numeric entity."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", safe(text, limit))


def markdown_name(name: str, limit: int = 200) -> str:
    """A name as code, in which nothing is a link; an odd one as words that mean nothing."""
    shown = safe(name, limit)
    if _PLAIN.fullmatch(shown) and shown.strip() == shown:
        return f"`{shown}`"
    return "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in shown) or "&nbsp;"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """A table; `right` names right-aligned columns by number. Cells from files pass one of the above first."""
    rule = ["---:" if column in right else "---" for column in range(len(headers))]
    return [f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows)]
