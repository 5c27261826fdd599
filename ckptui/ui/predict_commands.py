"""The commands of the predict pane. Lines take letters, so each letter has a second key that works there too."""

from __future__ import annotations

from ckptui.ui.command import DOING, LOOKING, MOVING, Command

PREDICT_COMMANDS: tuple[Command, ...] = (
    Command(
        "predict-run", "predict", "run", ("enter",), "run", "Predict this image with this model", DOING,
        ("pane",), 8,
    ),
    Command(
        "predict-stop", "predict", "stop", ("escape",), "stop", "Stop the prediction; what is on show stays", DOING,
        ("pane",), 9,
    ),
    Command(
        "predict-next-image", "predict", "step(1)", ("n", "ctrl+n"), "next",
        "Predict the next image of the folder", DOING, ("pane",), 10,
    ),
    Command(
        "predict-previous-image", "predict", "step(-1)", ("N", "ctrl+r"), "image before",
        "Predict the image before in the folder", DOING,
    ),
    Command(
        "predict-options", "predict", "options", ("o", "ctrl+o"), "options",
        "Show or fold away preprocessing, the save to answer beside, and labels", DOING, ("pane",), 11,
    ),
    Command(
        "predict-preprocessings", "predict", "preprocessings", ("v", "ctrl+t"), "scalings",
        "Add the answers under every preprocessing: which of them changes it", LOOKING, ("pane",), 12,
    ),
    Command(
        "predict-many", "predict", "many", ("i", "ctrl+g"), "folder",
        "Add all images of the folder: what each flip does to the answer, beside controls", LOOKING,
        ("pane",), 12,
    ),
    Command("predict-down", "predict", "page(1)", ("pagedown",), "page down", "Scroll the answers down", MOVING),
    Command("predict-up", "predict", "page(-1)", ("pageup",), "page up", "Scroll the answers up", MOVING),
    Command("predict-line-down", "predict", "scroll(1)", ("j",), "down", "Scroll the answers down a line", MOVING),
    Command("predict-line-up", "predict", "scroll(-1)", ("k",), "up", "Scroll the answers up a line", MOVING),
    Command(
        "predict-choice-after", "predict-choice", "turn(1)", ("right", "l", "space"), "choose",
        "Choose the next preprocessing", DOING, ("pane",), 7, both="← →",
    ),
    Command(
        "predict-choice-before", "predict-choice", "turn(-1)", ("left", "h"), "choose before",
        "Choose the preprocessing before", DOING,
    ),
)  # fmt: skip
