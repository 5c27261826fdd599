"""What stands above the causes: the symptoms with their keys, the steps as they run, the images. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence

from textual.content import Content

from ckptui.core.causes import Symptom, WhyReport, WhyStep
from ckptui.core.report import SIGNS
from ckptui.core.text import safe
from ckptui.ui.fitting import shown, wrap
from ckptui.ui.why_rows import ORDER, SHORT, asked_words

STATES = {"done": (SIGNS["ok"], "$success"), "failed": (SIGNS["error"], "$error"), "skipped": ("–", "$dim")}
STEP_WIDTH = 12


def title_line(label: str, images: Sequence[str], nothing: str, against: str, room: int) -> Content:
    """What is asked about, with which images (`nothing` where there are none), and the other save."""
    other = against.rstrip("/").rpartition("/")[2]
    asked = images_words(images, room // 2) if images else nothing
    return Content.assemble(
        ("Why  ", "bold $primary"), (shown(label, room // 2), "bold"), (f"  {asked}", "$dim"),
        (f"  against {shown(other, 16)}" if other else "", "$mark"),
    )  # fmt: skip


def symptom_line(chosen: Symptom | None, report: WhyReport | None) -> Content:
    """`0 all  1 constant ●  ...`: the chosen one reversed with its key, a dot where it was really seen."""
    parts: list[tuple[str, str] | str] = []
    for key, symptom in enumerate(ORDER):
        if symptom == chosen:
            parts.append((f"{key} {SHORT[symptom]}", "bold reverse"))
        else:
            parts += [(f"{key}", "bold $primary"), (f" {SHORT[symptom]}", "$dim")]
        seen = report is not None and symptom is not None and symptom in report.shown
        parts += [(" ● seen", "$error") if seen else "", "   "]
    return Content.assemble(*parts)


def step_line(step: WhyStep, room: int, turn: str, doing: str, seconds: float) -> Content:
    """One step; in `room` cells its detail and seconds too, with 0 its name alone. `turn`: a busy one's spinner."""
    busy = step.state == "running"
    sign, style = (turn, "bold $primary") if busy and turn else STATES.get(step.state, ("–", "$dim"))
    name = safe(step.name)
    if not room:
        return Content.assemble((sign, style), " ", (name, "" if busy else "$dim"))
    took = f"{seconds:.1f} s" if seconds and not busy else f"{seconds:.0f} s" if seconds >= 1 else ""
    words = doing or step.detail if busy else "; ".join(part for part in (step.detail, asked_words(step.ask)) if part)
    detail = shown(words, max(room - STEP_WIDTH - 12, 10))
    return Content.assemble(
        (sign, style), " ", (name.ljust(STEP_WIDTH), "bold" if busy else ""), (" " + detail, "$dim"),
        (f"  {took}" if took else "", "$dim"),
    )  # fmt: skip


def cut(words: str, width: int, most: int) -> str:
    """At most so many lines; where more is said the last one ends in `…`."""
    lines = wrap(words, width)
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: width - 2] + " …"])


def images_words(images: Sequence[str], room: int) -> str:
    """`image 3.png`, or `images 3.png and 7 more`."""
    first = shown(os.path.basename(images[0]), max(room - 16, 8))
    return f"image {first}" if len(images) == 1 else f"images {first} and {len(images) - 1} more"
