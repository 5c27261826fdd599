"""Every command of the workbench, declared once; bindings, footer, help and palette are drawn from here.

A command belongs to a *scope*, the kind of widget or screen that carries it out: that class has
`COMMAND_SCOPE = "..."`, `BINDINGS = bindings_for("...")` and an `action_...` method per command, and says in
`check_action` what can't be done just now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from textual.actions import parse
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.keys import key_to_character
from textual.screen import Screen
from textual.widget import Widget

from ckptui.ui.command import COMPARING, DOING, LOOKING, MOVING, WORKBENCH, Command
from ckptui.ui.predict_commands import PREDICT_COMMANDS
from ckptui.ui.timeline_commands import TIMELINE_COMMANDS
from ckptui.ui.why_commands import WHY_COMMANDS

COMMANDS: tuple[Command, ...] = (
    Command("down", "list", "move('down')", ("down", "j"), "down", "Move to the next row", MOVING),
    Command("up", "list", "move('up')", ("up", "k"), "up", "Move to the row before", MOVING),
    Command("top", "list", "move('top')", ("g", "home"), "top", "Go to the first row", MOVING),
    Command("bottom", "list", "move('bottom')", ("G", "end"), "bottom", "Go to the last row", MOVING),
    Command("page-down", "list", "move('page-down')", ("pagedown",), "page down", "Move one page down", MOVING),
    Command("page-up", "list", "move('page-up')", ("pageup",), "page up", "Move one page up", MOVING),
    Command(
        "choose", "list", "choose", ("enter",), "open",
        "Open the row: a save's tensors, a fold, a tensor's details, the tensor of a finding, the save of an axis",
        MOVING,
        ("findings", "timeline"), 5,
    ),
    Command(
        "left", "list", "go_left", ("left", "h"), "left", "Close the folder, or go to the pane on the left", MOVING
    ),
    Command(
        "right", "list", "go_right", ("right", "l"), "right", "Open the folder, or go to the pane on the right",
        MOVING,
    ),
    Command(
        "back", "main", "back", ("escape",), "back", "Leave the pane, or clear the filter", MOVING, ("pane",), 12,
        not_in=("saves", "tensors", "findings", "architecture", "timeline", "about"),
    ),
    Command(
        "next-flagged", "main", "next_flagged", ("n",), "next flagged",
        "Go to the next flagged tensor, on into the next flagged save", LOOKING, ("tensors", "saves", "pane"), 10,
    ),
    Command(
        "previous-flagged", "main", "previous_flagged", ("N",), "previous flagged",
        "Go to the flagged tensor before, back into the save before", LOOKING,
    ),
    Command(
        "filter", "main", "filter", ("slash",), "filter",
        "Filter the tensors by a part of their name or a regular expression", LOOKING, ("tensors",), 20,
        not_in=("pane", "timeline"),
    ),
    Command(
        "filter-keep", "filter", "keep", ("enter", "down"), "keep", "Go to the tensors the filter leaves", LOOKING,
        (), 5,
    ),
    Command("filter-clear", "filter", "clear", ("escape",), "clear", "Take the filter back", LOOKING, (), 6),
    Command(
        "sort", "main", "sort", ("s",), "sort",
        "Sort the tensors by the next of: worst first, name, size, order in the file", LOOKING, ("tensors",), 70,
        not_in=("pane",),
    ),
    Command(
        "names", "main", "names", ("v",), "stored names",
        "Show names as they are stored, or as the variables are called", LOOKING,
    ),
    Command(
        "filters", "main", "filters", ("f",), "filters",
        "Look at the filters of the kernel under the cursor, suspicious ones framed", LOOKING,
        ("tensors", "pane"), 50,
    ),
    Command("tab-tensors", "main", "show_tab('tensors')", ("1",), "tensors", "Show the tensors", LOOKING),
    Command("tab-findings", "main", "show_tab('findings')", ("2",), "findings", "Show the findings", LOOKING),
    Command(
        "tab-architecture", "main", "show_tab('architecture')", ("3",), "architecture",
        "Show layers and signatures", LOOKING,
    ),
    Command(
        "tab-timeline", "main", "show_tab('timeline')", ("t", "4"), "timeline",
        "Go through all saves of this run: change, norms, what broke when, the loss", LOOKING,
        ("saves", "tensors"), 45, not_in=("timeline", "pane"),
    ),
    Command(
        "tab-about", "main", "show_tab('about')", ("5",), "about",
        "Show the facts about the save, and what was checked", LOOKING,
    ),
    Command(
        "mark", "main", "mark", ("m",), "mark A", "Mark this save as A, the baseline of a diff", COMPARING,
        ("saves", "tensors"), 30,
    ),
    Command(
        "diff", "main", "diff", ("d",), "diff",
        "Compare with the marked save, or with the previous save of the run", COMPARING, ("saves", "tensors"), 40,
    ),
    Command(
        "predict", "main", "predict", ("p",), "predict",
        "Predict one image as it is, flipped, repeated, reloaded and in a fresh process; Enter runs it", DOING,
        ("saves", "tensors"), 12,
    ),
    Command(
        "check", "main", "check", ("c",), "check",
        "Read every byte of this save: checksums, values, filters; again to stop", DOING, ("saves",), 80,
    ),
    Command(
        "export", "main", "export", ("e",), "export", "Write tensors to a .npz, .safetensors or .npy file", DOING,
        ("tensors",), 90,
    ),
    Command(
        "check-all", "main", "check_all", ("C",), "check all",
        "Read every byte of every save in the tree, newest first; again to stop", DOING, ("saves",), 82,
    ),
    Command(
        "salvage", "main", "salvage", ("S",), "salvage",
        "See what of this save can be brought back, and write it somewhere else", DOING,
        ("findings", "saves", "tensors"), 15,
    ),
    Command(
        "copy", "main", "copy", ("y",), "copy", "Copy the name, path or finding under the cursor to the clipboard",
        DOING, ("findings", "pane"), 45,
    ),
    Command(
        "show-text", "main", "show_text", ("Y",), "select text",
        "Show that text alone, to select it with the mouse where the clipboard can't be reached", DOING,
    ),
    Command("filter-left", "gallery", "go('left')", ("left", "h"), "left", "Go to the filter on the left", MOVING),
    Command(
        "filter-right", "gallery", "go('right')", ("right", "l"), "right", "Go to the filter on the right", MOVING
    ),
    Command("filter-up", "gallery", "go('up')", ("up", "k"), "up", "Go to the filter above", MOVING),
    Command("filter-down", "gallery", "go('down')", ("down", "j"), "down", "Go to the filter below", MOVING),
    Command("filter-top", "gallery", "go('top')", ("g", "home"), "first", "Go to the first filter", MOVING),
    Command("filter-bottom", "gallery", "go('bottom')", ("G", "end"), "last", "Go to the last filter", MOVING),
    Command("filter-page-up", "gallery", "go('page-up')", ("pageup",), "page up", "Go one page up", MOVING),
    Command(
        "filter-page-down", "gallery", "go('page-down')", ("pagedown",), "page down", "Go one page down", MOVING
    ),
    Command(
        "filter-next-flagged", "gallery", "flagged(1)", ("n",), "flagged",
        "Go to the next framed filter; after the last, to the next flagged tensor", LOOKING, ("pane",), 10,
    ),
    Command(
        "filter-previous-flagged", "gallery", "flagged(-1)", ("N",), "previous flagged",
        "Go to the framed filter before", LOOKING,
    ),
    Command(
        "filter-order", "gallery", "look('order', 1)", ("s",), "sort",
        "Sort the filters by the next of: index, flagged first, norm, symmetry", LOOKING, ("pane",), 13,
    ),
    Command(
        "filter-channel-next", "gallery", "look('view', 1)", ("right_square_bracket",), "channel",
        "Show the next single input channel; after the last, all in one", LOOKING, ("pane",), 11, both="[ ]",
    ),
    Command(
        "filter-channel-before", "gallery", "look('view', -1)", ("left_square_bracket",), "channel before",
        "Show the input channel before", LOOKING,
    ),
    Command(
        "filter-scale", "gallery", "look('scale', 1)", ("z",), "scale",
        "One colour scale for the layer, or one for every filter", LOOKING, ("pane",), 16,
    ),
    Command(
        "filter-larger", "gallery", "look('zoom', 1)", ("plus", "equals_sign"), "larger",
        "Draw the filters larger", LOOKING,
    ),
    Command(
        "filter-smaller", "gallery", "look('zoom', -1)", ("minus",), "smaller", "Draw the filters smaller", LOOKING
    ),
    Command(
        "slice-next", "matrix", "slice(1)", ("right_square_bracket",), "slice",
        "Show the next slice of a tensor of three axes or more", LOOKING, ("pane",), 11, both="[ ]",
    ),
    Command(
        "slice-before", "matrix", "slice(-1)", ("left_square_bracket",), "slice before", "Show the slice before",
        LOOKING,
    ),
    Command(
        "unit-next-flagged", "matrix", "flagged(1)", ("n",), "next flagged",
        "Go to the next marked unit or entry; after the last, to the next flagged tensor", LOOKING, ("pane",), 10,
    ),
    Command(
        "unit-previous-flagged", "matrix", "flagged(-1)", ("N",), "previous flagged",
        "Go to the marked unit or entry before", LOOKING,
    ),
    Command(
        "log-counts", "inspector", "log_counts", ("x",), "log counts",
        "Draw the histogram's counts on a logarithmic or a linear axis", LOOKING, ("pane",), 55,
    ),
    *PREDICT_COMMANDS,
    Command(
        "diff-close", "diff", "close", ("escape",), "back", "Leave the tensor's pictures, or the diff", MOVING,
        ("diff",), 5,
    ),
    Command(
        "diff-sort", "diff", "sort", ("s",), "sort",
        "Sort by the next of: relative change, largest change, cosine, name", COMPARING, ("diff",), 20,
    ),
    Command(
        "diff-status", "diff", "status", ("f",), "status", "Show only pairs of the next status", COMPARING,
        ("diff",), 30,
    ),
    Command(
        "diff-identical", "diff", "identical", ("x",), "identical", "Unfold or fold the tensors that are identical",
        COMPARING, ("diff",), 40,
    ),
    Command(
        "diff-pane", "diff", "next_pane", ("tab",), "pane", "Go to the other pane", WORKBENCH, (), 900, pinned=True
    ),
    *TIMELINE_COMMANDS,
    *WHY_COMMANDS,
    Command("open", "main", "open", ("o",), "open path", "Open another file or folder", WORKBENCH, ("saves",), 100),
    Command("rescan", "main", "rescan", ("r",), "rescan", "Look for saves again", WORKBENCH, ("saves",), 110),
    Command(
        "next-pane", "main", "next_pane", ("tab",), "pane", "Go to the next pane", WORKBENCH, (), 900, pinned=True
    ),
    Command(
        "previous-pane", "main", "previous_pane", ("shift+tab",), "pane before", "Go to the pane before",
        WORKBENCH,
    ),
    Command(
        "help", "app", "help", ("question_mark", "f1"), "help", "Show all keys", WORKBENCH, (), 910, pinned=True
    ),
    Command("palette", "app", "command_palette", ("ctrl+p",), "commands", "Find a command by typing", WORKBENCH),
    Command("quit", "app", "quit", ("q", "ctrl+c"), "quit", "Leave ckptui", WORKBENCH, (), 920, pinned=True),
)  # fmt: skip

_KEY_NAMES = {
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "shift+tab": "Shift+Tab",
    "f1": "F1",
    "f2": "F2",
    "home": "Home",
    "end": "End",
    "space": "Space",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
}
ARROWS = {"up": "↑", "down": "↓", "left": "←", "right": "→"}


def key_text(key: str) -> str:
    """The key as people call it: `/`, `Tab`, `Ctrl+P`, `n`."""
    if key.startswith("ctrl+"):
        return f"Ctrl+{key[5:].upper()}"
    return _KEY_NAMES.get(key) or ARROWS.get(key) or key


def in_scope(scope: str) -> tuple[Command, ...]:
    """The commands of one scope, as declared."""
    return tuple(command for command in COMMANDS if command.scope == scope)


BEFORE_TYPING = frozenset({"filter", "open", "export", "predict"})
"""What ends in a line to type into: carried out before the next key is handed on, which is meant for that line."""


def bindings_for(scope: str) -> list[BindingType]:
    """Textual bindings of one scope; Ctrl+C goes before any widget's own use of it, see also `BEFORE_TYPING`."""
    return [
        Binding(
            key,
            command.action,
            command.label,
            show=False,
            id=command.id,
            tooltip=command.help,
            priority=key == "ctrl+c" or command.id in BEFORE_TYPING,
        )
        for command in in_scope(scope)
        for key in command.keys
    ]


@runtime_checkable
class Commanded(Protocol):
    """A widget, screen or app that carries out the commands of a scope."""

    COMMAND_SCOPE: str


@runtime_checkable
class Naming(Protocol):
    """One whose key does another thing from place to place."""

    def label_of(self, action: str) -> str:
        """What `action` does here, in two words; empty where its label says it."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """One that answers a key in words where its command can do nothing."""

    def why_not(self, action: str) -> str:
        """Why `action` can do nothing here; empty if it can."""
        ...


def carriers(screen: Screen[Any]) -> Iterator[tuple[str, DOMNode]]:
    """The scopes in reach of the focus, nearest first, each with the node that carries it out."""
    focused: Widget | None = screen.focused
    chain = focused.ancestors_with_self if focused is not None else screen.ancestors_with_self
    for node in chain:
        if isinstance(node, Commanded):
            yield node.COMMAND_SCOPE, node
        if node.is_modal:
            return


@dataclass(frozen=True, slots=True)
class Offer:
    """A command that can be carried out now."""

    command: Command
    node: DOMNode
    """Who carries it out."""
    key: str
    """The first of its keys that gets through."""

    @property
    def shown(self) -> str:
        """The key as people call it, with that of the opposite where the footer shows both."""
        return self.command.both or key_text(self.key)

    @property
    def label(self) -> str:
        """What it does, where the cursor is."""
        here = self.node.label_of(self.command.action) if isinstance(self.node, Naming) else ""
        return here or self.command.label


def available(screen: Screen[Any]) -> list[Offer]:
    """What can be done now; nearer scopes first, as declared in each.

    A key that a nearer scope uses, or that a line being typed into takes for a letter, does not get through.
    """
    found: list[Offer] = []
    claimed: set[str] = set()
    for scope, node in carriers(screen):
        here = [c for c in in_scope(scope) if node.check_action(*parse(c.action)[1:])]
        for command in here:
            free = [key for key in command.keys if key not in claimed and not _typed(screen, key)]
            if free and not (isinstance(node, Explaining) and node.why_not(command.action)):
                found.append(Offer(command, node, free[0]))
        claimed.update(key for command in here for key in command.keys)
    return found


def _typed(screen: Screen[Any], key: str) -> bool:
    """Does the focused line take the key for a letter?"""
    name = _KEY_NAMES.get(key, "")
    character = name if len(name) == 1 else key_to_character(key)
    return screen.focused is not None and screen.focused.check_consume_key(key, character)
