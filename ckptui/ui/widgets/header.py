"""The top line: whose screen this is, where, what was found, and how far a check is."""

from __future__ import annotations

import os

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from ckptui.core.model import Progress
from ckptui.core.report import SIGNS
from ckptui.core.text import human_bytes
from ckptui.ui.fitting import shown

BAR = 12
BADGE = " ckptui "
WATCHING = "• watching"


class HeaderLine(Widget):
    """One line; what has no room is left out: bytes, time, rate, bar, then the path's middle."""

    path: reactive[str] = reactive("")
    totals: reactive[tuple[int, int]] = reactive((0, 0))
    """Errors and warnings of everything met so far."""
    job: reactive[tuple[str, Progress | None] | None] = reactive(None)
    """What is going on, and how far it is where that is known."""

    watching: reactive[bool] = reactive(False)
    """The folders are watched for saves that come and go."""

    def render(self) -> Content:
        """The line for the width there is."""
        width = self.size.width
        room = width - len(BADGE) - 2
        findings = self._findings()
        variants = self._job_variants()
        path = home_short(self.path)
        wanted = min(cell_len(path), 24)
        job = next(
            (v for v in variants if room - cell_len(v.plain) - cell_len(findings.plain) - 4 >= wanted), Content()
        )
        right = Content("   ").join([part for part in (findings, job) if part.plain])
        if self.watching and room - cell_len(right.plain) - len(WATCHING) - 6 >= cell_len(path):
            right = Content("   ").join([part for part in (right, Content.styled(WATCHING, "$dim")) if part.plain])
        path_room = max(0, room - cell_len(right.plain) - 3)
        path = shown(path, path_room)
        gap = room - cell_len(path) - cell_len(right.plain) - 1
        return Content.assemble((BADGE, "bold $background on $primary"), "  ", path, " " * max(gap, 1), right, " ")

    def _findings(self) -> Content:
        parts = []
        for severity, count in zip(("error", "warning"), self.totals, strict=True):
            if count:
                words = f"{SIGNS[severity]} {count} {severity}{'s' if count != 1 else ''}"
                parts.append(Content.styled(words, f"bold ${severity}" if severity == "error" else f"${severity}"))
        return Content("  ").join(parts)

    def _job_variants(self) -> list[Content]:
        if self.job is None:
            return []
        word, progress = self.job
        if progress is None:
            return [Content.styled(word, "$dim")]
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
        share = max(0.0, min(share, 1.0))
        filled = round(BAR * share)
        percent = f" {share:4.0%}"
        bar = Content.assemble(
            (word + " ", "$dim"), ("━" * filled, "$primary"), ("━" * (BAR - filled), "$faint"), (percent, "$dim")
        )
        rate = f"  {human_bytes(progress.rate)}/s" if progress.rate else ""
        left = progress.seconds_left
        seconds = "" if left is None or left >= 86_400 else f"  {duration(left)}"
        amount = f"  {human_bytes(progress.done_bytes)} of {human_bytes(progress.total_bytes)}"
        return [
            bar + Content.styled(amount + rate + seconds, "$dim"),
            bar + Content.styled(rate + seconds, "$dim"),
            bar + Content.styled(rate, "$dim"),
            bar,
            Content.styled(f"{word}{percent}", "$dim"),
        ]


def home_short(path: str) -> str:
    """The path with `~` for the user's home."""
    home = os.path.expanduser("~")
    return "~" + path[len(home) :] if home != "/" and (path + "/").startswith(home.rstrip("/") + "/") else path


def duration(seconds: float) -> str:
    """`4 s`, `3 min`, `2 h`."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
