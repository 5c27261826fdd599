"""What a run comes to, in words for its row in the tree."""

from __future__ import annotations

import os
from collections.abc import Sequence

from textual.content import Content

from ckptui.core.runs import RunVerdict
from ckptui.core.text import human_count, safe

NAMES_SHOWN = 5


def run_words(run: RunVerdict) -> Content:
    """The newest good save, where the state file leads, what is damaged and left over, and what to do."""
    parts: list[Content | str | tuple[str, str]] = []
    if run.newest_good:
        parts += [("Newest good save  ", "$dim"), (_name(run.newest_good), "bold $success")]
        parts.append(("  every byte was checked" if run.verified else "  as far as its directory tells", "$dim"))
    elif len(run.unchecked) == len(run.saves):
        parts.append(("Not looked at yet", "$dim"))
    else:
        parts.append(("No save of this run is good", "bold $error"))
    if run.state:
        stated = safe(run.stated) if run.stated else "no save"
        wrong = run.misled or not run.stated
        parts += [("\nThe state file names  ", "$dim"), (stated, "$warning" if wrong else "")]
    parts += _names("\nWith errors  ", run.damaged[::-1], "$error")
    parts += _names("\nLeftovers  ", run.leftovers, "$warning")
    if run.newest_good and (run.misled or run.newest_good != run.saves[-1]):
        parts += ["\n\n", ("→ ", "$primary"), f"Restore {safe(run.newest_good)} by its path"]
    if run.newest_good and not run.verified:
        parts += ["\n\n", ("→ ", "$primary"), ("C", "bold $primary"), " reads every byte of every save"]
    return Content.assemble(*parts)


def _names(words: str, paths: Sequence[str], style: str) -> list[tuple[str, str]]:
    if not paths:
        return []
    more = len(paths) - NAMES_SHOWN
    names = ", ".join(map(_name, paths[:NAMES_SHOWN])) + (f" and {human_count(more)} more" if more > 0 else "")
    return [(words, "$dim"), (names, style)]


def _name(path: str) -> str:
    return safe(os.path.basename(path.rstrip("/")) or path)
