"""The commands of the timeline tab and of the pane beside it."""

from __future__ import annotations

from ckptui.ui.command import COMPARING, LOOKING, MOVING, Command

TIMELINE_COMMANDS: tuple[Command, ...] = (
    Command(
        "timeline-before", "timeline", "step(-1)", ("left_square_bracket",), "save before",
        "Move the cursor of the axis to the save before, as ← does", MOVING,
    ),
    Command(
        "timeline-after", "timeline", "step(1)", ("right_square_bracket",), "save",
        "Move the cursor of the axis to the save after, as → does", MOVING,
        ("timeline",), 6, both="← →",
    ),
    Command(
        "timeline-pick", "timeline", "pick", ("m", "space"), "mark A",
        "Mark the save under the axis cursor as A", COMPARING, ("timeline",), 7,
    ),
    Command(
        "timeline-diff", "timeline", "compare", ("d",), "diff",
        "Compare A, or the save before, with the save under the axis cursor", COMPARING, ("timeline",), 8,
    ),
    Command(
        "timeline-history", "timeline", "history", ("f",), "values",
        "Look at the tensor's values over the saves", LOOKING, ("timeline",), 9,
    ),
    Command(
        "timeline-measure", "timeline", "measure", ("x",), "measure",
        "Draw the next of: change per save, norm, values not finite", LOOKING, ("timeline",), 11,
    ),
    Command(
        "timeline-sort", "timeline", "sort_rows", ("s",), "sort",
        "Sort the rows by the next of: worst first, last change, name, order in the file", LOOKING,
        ("timeline",), 12,
    ),
    Command(
        "timeline-next-flagged", "timeline", "flagged(1)", ("n",), "next flagged",
        "Go to the next tensor of the run about which there is something to say", LOOKING, ("timeline",), 10,
    ),
    Command(
        "timeline-previous-flagged", "timeline", "flagged(-1)", ("N",), "previous flagged",
        "Go to the one before", LOOKING,
    ),
    Command(
        "history-before", "history", "save(-1)", ("left", "h", "left_square_bracket"), "save before",
        "Move the cursor of the axis to the save before", MOVING,
    ),
    Command(
        "history-after", "history", "save(1)", ("right", "l", "right_square_bracket"), "save",
        "Move the cursor of the axis to the save after", MOVING, ("pane",), 6, both="← →",
    ),
    Command(
        "history-up", "history", "tensor('up')", ("up", "k"), "tensor before", "Look at the tensor above", MOVING
    ),
    Command(
        "history-down", "history", "tensor('down')", ("down", "j"), "tensor",
        "Look at the tensor below", MOVING, ("pane",), 7, both="↑ ↓",
    ),
    Command(
        "history-back", "history", "back", ("escape", "f"), "back", "Back to the timeline", MOVING, ("pane",), 12
    ),
)  # fmt: skip
