"""The commands of the screen that says why."""

from __future__ import annotations

from ckptui.ui.command import DOING, LOOKING, MOVING, Command

WHY_COMMANDS: tuple[Command, ...] = (
    Command(
        "why", "main", "why", ("w", "f2"), "why",
        "Ask why this model predicts as it does: all checks that bear on it, causes ranked", DOING,
        ("findings", "saves", "tensors"), 14,
    ),
    Command(
        "why-close", "why", "close", ("escape",), "back", "Take the question back and leave", MOVING, ("why",), 5
    ),
    Command(
        "why-enter", "why", "enter", ("enter",), "go there",
        "Go to the layer or tensor of the cause, Esc comes back here; or open and close a fold", MOVING, ("why",), 6,
    ),
    Command(
        "why-symptom", "why", "next_symptom", ("s",), "symptom",
        "Show what explains the next of: anything, a constant answer, flips, an unstable answer", LOOKING,
        ("why",), 20,
    ),
    Command("why-all", "why", "symptom('')", ("0",), "all", "Show the causes of every symptom", LOOKING),
    Command(
        "why-constant", "why", "symptom('constant')", ("1",), "constant",
        "Show what explains the same prediction for every input", LOOKING,
    ),
    Command(
        "why-flip", "why", "symptom('flip')", ("2",), "flip",
        "Show what explains the same prediction unless the image is flipped", LOOKING,
    ),
    Command(
        "why-unstable", "why", "symptom('unstable')", ("3",), "unstable",
        "Show what explains a prediction that changes from run to run, after a reload or an export", LOOKING,
    ),
    Command(
        "why-copy", "why", "copy", ("y",), "copy", "Copy the cause under the cursor with its evidence", DOING,
        ("why",), 30,
    ),
    Command(
        "why-text", "why", "show_text", ("Y",), "select text",
        "Show that text alone, to select it with the mouse where the clipboard can't be reached", DOING,
    ),
    Command(
        "why-folder", "why", "folder", ("i",), "folder",
        "Ask with all images of the folder: only many of them tell what flips mean", DOING, ("why",), 25,
    ),
    Command("why-again", "why", "again", ("r",), "again", "Ask once more from the start", DOING, ("why",), 28),
)  # fmt: skip
