"""Folders on show are watched: saves come, are written anew and go while a training runs, and the screen keeps up."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence

from ckptui.core.model import Found
from ckptui.core.text import human_count, safe
from ckptui.ui import jobs, messages
from ckptui.ui.access import session_of
from ckptui.ui.ledger import News, SaveRecord
from ckptui.ui.screens.following import Following
from ckptui.ui.tree_rows import common_root
from ckptui.ui.widgets.header import HeaderLine

NAMED = 2
"""Saves that are named one by one in the words about them; of more only the number is told."""
WORDS_STAY = 6


class Watching(Following):
    """Takes what the watcher tells into the ledger, and moves nothing under the user's hands."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(paths)
        self._news: list[Found] = []
        """Saves that are to be looked at."""
        self._back_to = ""
        """The tensor the cursor was on in a save that is opened anew."""

    def look(self, paths: Sequence[str]) -> None:
        """Other paths are watched, once they are walked."""
        self.stop("watch")
        self.stop("news")
        self._news = []
        self.query_one(HeaderLine).watching = False
        super().look(paths)

    def walked(self) -> None:
        """When all saves are met, what becomes of them is watched.

        By no worker: a watcher has no end of its own, and leaving does not wait for it.
        """
        session, cancel = session_of(self), self.begin("watch")
        known = [record.found for record in self.ledger.saves.values()]
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run,
            args=(jobs.watch, session, self.paths, known, self.post_message, cancel),
            name="ckptui-watch",
            daemon=True,
        ).start()
        self.query_one(HeaderLine).watching = True

    def on_watch_ended(self, message: messages.WatchEnded) -> None:
        """Nobody looks any more, and the header does not say so."""
        if not message.cancel.is_set():
            self._cancels.pop("watch", None)
            self.query_one(HeaderLine).watching = False

    # ------------------------------------------------------------------ what has changed

    def on_folders_changed(self, message: messages.FoldersChanged) -> None:
        """Saves came, changed or went; the cursor stays where it is."""
        if message.cancel.is_set():
            return
        was_empty = not self.ledger.saves
        news = self.ledger.watched(message.watched, self.current)
        if not news:
            return
        self.root = common_root(self.paths, (r.found.folder for r in self.ledger.saves.values()))
        record = self.record
        if record is not None and record.gone and self.current in news.gone:
            self._gone_from_show(record)
        self.save_tree.show(self.ledger, self.root)
        if self.current is not None and any(found.path == self.current for found in news.changed):
            self._open_anew(self.current)
        if was_empty and self.ledger.saves:
            self._settle()
        self.count()
        self.show_mark()
        self._look_at_news([*news.appeared, *news.changed])
        if words := news_words(news):
            self.say(words, WORDS_STAY)
        for run in news.runs:
            self.run_changed(run)
        row = self.save_tree.row
        if self.current is None and row is not None and row.kind == "folder" and self.view.showing != "timeline":
            self._highlight(row)
        self.refresh_bindings()

    def _gone_from_show(self, record: SaveRecord) -> None:
        """Its rows stay until the user moves on; nothing more is read of it."""
        for group in ("open", "check"):
            self.stop(group)
        if record.phase in ("opening", "checking"):
            record.phase = "quick" if record.listing is not None else "unread"
        self.query_one(HeaderLine).job = None
        self.view.gone()

    def _open_anew(self, path: str) -> None:
        """The save on show was written anew: its new rows, the cursor on the same tensor."""
        table = self.view.table
        self._back_to = table.tensor.name if table.tensor is not None and table.moved_by_user else ""
        self.stop("open")
        self.stop("check")
        self.current = None
        self.open_save(path)

    def show_record(self, record: SaveRecord) -> None:
        super().show_record(record)
        name, self._back_to = self._back_to, ""
        if name:
            self.view.table.jump_to(name)

    # ------------------------------------------------------------------ looking at new saves

    def _look_at_news(self, saves: Sequence[Found]) -> None:
        """Quick checks, and full ones of small saves, one save after the other."""
        paths = {found.path for found in saves}
        self._news = [found for found in self._news if found.path not in paths] + [
            found for found in saves if found.path != self.current
        ]
        if self._news and "news" not in self._cancels:
            waiting, self._news = self._news, []
            self.run_news(waiting, self.begin("news"))

    def on_news_ended(self, message: messages.NewsEnded) -> None:
        """Those that came meanwhile are next."""
        if not message.cancel.is_set():
            self._cancels.pop("news", None)
            self._look_at_news([])


def news_words(news: News) -> str:
    """`ckpt-4000 appeared; ckpt-1000 was removed by the trainer`."""
    parts = [
        _told(news.appeared_names, "appeared", "appeared"),
        _told(news.changed_names, "was written anew", "were written anew"),
        _told(news.gone_names, "was removed by the trainer", "were removed by the trainer"),
    ]
    words = "; ".join(part for part in parts if part)
    return f"{words}; the mark A went with it" if news.mark_gone else words


def _told(names: Sequence[str], one: str, several: str) -> str:
    if not names:
        return ""
    if len(names) > NAMED:
        return f"{human_count(len(names))} saves {several}"
    return f"{' and '.join(safe(name, 60) for name in names)} {one if len(names) == 1 else several}"
