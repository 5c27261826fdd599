"""The right of the screen: the inspector of a tensor, its values over the saves of a run, or a prediction."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from ckptui.core.model import Finding, Listing, Tensor, TensorScan

if TYPE_CHECKING:
    from ckptui.core.model import Histogram
    from ckptui.ui.timeline_rows import Course, Track
    from ckptui.ui.widgets.heat_over_saves import HeatOverSaves
    from ckptui.ui.widgets.inspector import Inspector
    from ckptui.ui.widgets.predict_pane import PredictPane

TITLES = {"inspector": "Inspector", "predict": "Predict", "history": "Values over the saves"}
LOAD_AFTER = 1.0
"""Seconds after which the panes are loaded though nothing asked for them yet."""
PANES = (
    "ckptui.ui.widgets.inspector",
    "ckptui.ui.widgets.predict_pane",
    "ckptui.ui.widgets.heat_over_saves",
)
"""What draws arrays: numpy comes with it, so it is loaded behind the first frame."""


class SidePane(Vertical):
    """Holds the panes and shows one; what is asked of them before they are loaded is done once they are."""

    showing: reactive[str] = reactive("inspector")

    class Loaded(Message):
        """The modules of the panes can be imported without waiting."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._waiting: dict[str, Callable[[], None]] = {}
        self._loading = False
        self.expecting = self._run_then = False
        self._offered = ""
        """The save that the predict pane was given."""
        self.ready = all(name in sys.modules for name in PANES)
        """The panes are there."""

    def compose(self) -> ComposeResult:
        with ContentSwitcher(id="pane-switch"):
            if self.ready:
                yield from self._panes()

    def on_mount(self) -> None:
        """Show the inspector, or load it once the first frame is drawn."""
        if self.ready:
            self._switch()
        else:
            # the first rows come first; whoever asks for a pane before has it loaded then
            self.set_timer(LOAD_AFTER, self._begin_loading)

    def _begin_loading(self) -> None:
        if not self._loading:
            self._loading = True
            self._load()

    @staticmethod
    def _panes() -> tuple[Widget, ...]:
        from ckptui.ui.widgets.heat_over_saves import HeatOverSaves
        from ckptui.ui.widgets.inspector import Inspector
        from ckptui.ui.widgets.predict_pane import PredictPane

        return Inspector(id="inspector"), PredictPane(id="predict"), HeatOverSaves(id="history")

    @work(thread=True, exclusive=True, exit_on_error=False, group="panes", description="load the panes")
    def _load(self) -> None:
        for name in PANES:
            importlib.import_module(name)
        self.post_message(self.Loaded())

    async def on_side_pane_loaded(self, event: Loaded) -> None:
        """Mount the panes and do what was asked of them meanwhile."""
        event.stop()
        if not self.app.is_running:
            return
        panes = self._panes()
        for pane in panes:
            pane.display = pane.id == self.showing
        await self.query_one("#pane-switch", ContentSwitcher).mount(*panes)
        if not self.app.is_running:
            return
        self.ready = True
        self._switch()
        waiting, self._waiting = self._waiting, {}
        for act in waiting.values():
            act()

    def _switch(self) -> None:
        switch = self.query_one("#pane-switch", ContentSwitcher)
        switch.current = self.showing
        for pane in switch.children:
            pane.display = pane.id == self.showing

    def _soon(self, pane: str, act: Callable[[], None]) -> None:
        """Do it now, or, when the panes are there, the last thing asked of each."""
        if self.ready and self.is_mounted:
            act()
        else:
            self._waiting[pane] = act
            if not self.ready and pane != "nothing":
                self.call_after_refresh(self._begin_loading)

    @property
    def inspector(self) -> Inspector:
        """All about one tensor; only once `ready`."""
        from ckptui.ui.widgets.inspector import Inspector

        return self.query_one(Inspector)

    @property
    def predict(self) -> PredictPane:
        """One image through one model; only once `ready`."""
        from ckptui.ui.widgets.predict_pane import PredictPane

        return self.query_one(PredictPane)

    @property
    def image(self) -> str:
        """The image named in the predict pane; empty where none is."""
        from ckptui.ui.widgets.path_input import PathInput

        return next((line.path for line in self.query("#predict-image").results(PathInput)), "")

    @property
    def history(self) -> HeatOverSaves:
        """One tensor over the saves of a run; only once `ready`."""
        from ckptui.ui.widgets.heat_over_saves import HeatOverSaves

        return self.query_one(HeatOverSaves)

    def show_track(self, course: Course | None, track: Track | None, place: int, mark: int | None) -> None:
        """Let the history pane say what is known of a tensor over the saves."""
        self._soon("track", lambda: self.history.show(course, track, place, mark))

    def show_history(self, histograms: Sequence[Histogram | None], words: str = "") -> None:
        """Let it draw the tensor's values over the saves, or say why not."""
        self._soon("history", lambda: self.history.learn(histograms, words))

    def show_tensor(self, listing: Listing, tensor: Tensor, scan: TensorScan | None) -> None:
        """Let the inspector show a tensor."""
        self._soon("inspector", lambda: self.inspector.show_tensor(listing, tensor, scan))

    def clear(self) -> None:
        """Let the inspector show nothing."""
        self._waiting.pop("inspector", None)
        self._soon("nothing", lambda: self.inspector.clear())

    def look_now(self) -> None:
        """Let the inspector read what it would read in a moment."""
        if self.ready and self.is_mounted:
            self.inspector.look_now()

    def show_filters(self) -> None:
        """Let the inspector give the keys to the filters."""
        self._soon("filters", lambda: self.inspector.show_filters())

    def expect_model(self) -> None:
        """Take the keys until the predict pane knows its model and image: Enter is meant for it."""
        self.expecting = self.can_focus = True
        self.screen.set_focus(self)

    def on_key(self, event: events.Key) -> None:
        """Enter runs as soon as there is something to run."""
        if self.expecting and event.key == "enter":
            event.stop()
            self._run_then = True

    def on_blur(self) -> None:
        """The keys went elsewhere: they stay there."""
        self.expecting = self.can_focus = self._run_then = False

    def show_model(
        self, listing: Listing, image: str | None, findings: Sequence[Finding] = (), mark: str | None = None
    ) -> None:
        """Let the predict pane offer a model and an image, and give the keys to its line for the image."""

        def show() -> None:
            self._offered = listing.artifact.path
            self.predict.show_for(listing, image, findings, mark)
            if self.expecting:
                self.predict.start()
            run, self.expecting, self.can_focus, self._run_then = self._run_then, False, False, False
            if run:
                self.predict.action_run()

        self._soon("predict", show)

    def learn(self, path: str, findings: Sequence[Finding]) -> None:
        """More is known of a save: it stands beside the answers on show, too."""
        if path == self._offered:
            self.predict.findings = self.predict.results.told.findings = findings
            self.predict.results.draw()

    def watch_showing(self, showing: str) -> None:
        """Show the other."""
        self.border_title = Content(TITLES[showing])
        self.border_subtitle = Content("")
        if self.is_attached:
            self.screen.set_class(showing == "predict", "-predicting")
        if self.is_mounted and self.ready:
            self._switch()

    def on_predict_pane_worker_told(self, event: PredictPane.WorkerTold) -> None:
        """State and memory of the prediction worker stand in the frame: they take no row."""
        event.stop()
        from ckptui.ui.prediction_details import worker_line

        if self.showing == "predict":
            self.border_subtitle = worker_line(event.state, max(self.size.width - 6, 8))

    @property
    def focus_targets(self) -> list[Widget]:
        """What can take keys in what is shown, in order."""
        shown = self.query(f"#{self.showing}")
        return [
            w for pane in shown for w in pane.walk_children(Widget, with_self=True) if w.focusable and _seen(w, pane)
        ]


def _seen(widget: Widget, pane: Widget) -> bool:
    """Is nothing between a widget and its pane folded away?"""
    nodes = [node for node in widget.ancestors_with_self if node is pane or pane in node.ancestors]
    return all(node.display for node in nodes if node is not pane)
