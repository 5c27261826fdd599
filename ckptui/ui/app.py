"""The Textual application: theme, signals, help and palette; everything else is in screens."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.css.query import NoMatches
from textual.filter import LineFilter, NoColor
from textual.screen import Screen

from ckptui.session import Session
from ckptui.ui.command import Command
from ckptui.ui.commands import available, bindings_for, key_text
from ckptui.ui.screens.help import HelpScreen
from ckptui.ui.screens.main import MainScreen
from ckptui.ui.theme import DARK, PlainSigns, plain_here

HANG_UP_SECONDS = 2.0
"""Time to restore the terminal and end the children after SIGHUP or SIGTERM."""


class Commands(Provider):
    """The palette: what can be done now, from the declared commands."""

    async def discover(self) -> Hits:
        """Everything, before a letter is typed."""
        for command, run in self._now():
            yield DiscoveryHit(_title(command), run, help=command.help)

    async def search(self, query: str) -> Hits:
        """What matches the letters typed."""
        matcher = self.matcher(query)
        for command, run in self._now():
            title = _title(command)
            score = max(matcher.match(title), 0.7 * matcher.match(command.help))
            if score > 0:
                yield Hit(score, matcher.highlight(title), run, help=command.help)

    def _now(self) -> list[tuple[Command, Callable[[], Awaitable[bool]]]]:
        found: list[tuple[Command, Callable[[], Awaitable[bool]]]] = []
        for offer in available(self.screen):
            command = offer.command
            if command.scope != "list" and command.id != "palette":
                found.append((command, partial(self.app.run_action, command.action, offer.node)))
        return found


def _title(command: Command) -> str:
    return f"{command.label}  ({key_text(command.keys[0])})"


class Workbench(App[None]):
    """Looks at saves below some paths, through a session."""

    COMMAND_SCOPE = "app"
    TITLE = "ckptui"
    CSS_PATH = Path(__file__).with_name("ckptui.tcss")
    BINDINGS = bindings_for("app")
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Commands}
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, paths: Sequence[str], session: Session, ascii: bool = False) -> None:
        super().__init__()
        self.paths = tuple(paths)
        self.session = session
        self.ascii_only = ascii or plain_here()
        """Draw with ASCII alone."""
        self._signs = PlainSigns()
        self._colourless = NoColor()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.set_class(self.no_color, "-no-colour")
        self.set_class(self.ascii_only, "-ascii")

    def get_default_screen(self) -> Screen[None]:
        """The workbench itself."""
        return MainScreen(self.paths)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's own, then no colours at all under NO_COLOR, then plain signs where they are needed."""
        filters = list(super().get_line_filters())
        if self.no_color:
            filters.append(self._colourless)
        if self.ascii_only:
            filters.append(self._signs)
        return filters

    def on_mount(self) -> None:
        """SIGHUP (a lost connection) and SIGTERM leave like `q`: the terminal restored, no child left."""
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGHUP, signal.SIGTERM):
                loop.add_signal_handler(number, self._hang_up, number)

    def _hang_up(self, number: int) -> None:
        """Leave, and be gone soon even if the terminal is: writing to a dead one can block for good.

        Children end with this process, however it ends.
        """
        last = threading.Timer(HANG_UP_SECONDS, os._exit, (128 + number,))
        last.daemon = True
        last.start()
        self.exit()

    def _handle_exception(self, error: Exception) -> None:
        """Leaving takes widgets away that are still being put together: what these then miss is nobody's error."""
        if not (self._exit and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def on_unmount(self) -> None:
        """Children end before the interpreter waits for threads that wait for them."""
        self.session.close()

    def action_help(self) -> None:
        """All keys."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))


def run_workbench(paths: Sequence[str], session: Session, ascii: bool = False) -> int:
    """Open the workbench on `paths` and return the exit code once the user leaves."""
    app = Workbench(paths, session, ascii)
    app.run()
    return app.return_code or 0
