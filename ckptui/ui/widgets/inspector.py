"""All about the tensor under the cursor: names, numbers, histogram and picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from ckptui.core.model import Finding, Histogram, Layer, Listing, Tensor, TensorScan
from ckptui.core.pictures import FilterSet
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, Damaged
from ckptui.ui.access import say, session_of
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import wrap
from ckptui.ui.widgets.facts import Facts, headline, short_title, tensor_facts
from ckptui.ui.widgets.finding_words import finding_lines, findings_about, implausible, over_filters
from ckptui.ui.widgets.gallery import Gallery
from ckptui.ui.widgets.histogram import HistogramView
from ckptui.ui.widgets.reflow import Words
from ckptui.ui.widgets.subject import (
    Line,
    Subject,
    has_distribution,
    nothing_to_see,
    overview_of,
    subject_of,
    too_large,
    unit_at,
    with_layer,
)

LARGEST_DRAWN = 40_000_000
"""Bytes of a tensor that are fetched to be drawn; larger ones come reduced to a small heat map."""
OVERVIEW = (512, 512)
"""Pixels of that heat map, at most."""
LOOKING: tuple[Line, ...] = ((("looking for untouched, dead and duplicate filters …", "$dim"),),)
"""Stands where the words about a layer will, while its first picture is there already."""
ANALYSED = ("kernel", "embedding")
"""Roles of tensors that are looked at filter by filter."""
BINS = 120
SETTLED = 0.08
"""Seconds the cursor must rest before bytes are read."""
WIDE = 76
"""From this width facts and histogram stand side by side."""


class Inspector(VerticalScroll, can_focus=True):
    """Shows one tensor; the bytes are read in a thread, and only when the cursor rests."""

    COMMAND_SCOPE = "inspector"
    BINDINGS = bindings_for("inspector")
    DEFAULT_CSS = """
    Inspector {
        height: 1fr;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        & #inspector-title { text-style: bold; height: 1; }
        & #inspector-headline { color: $dim; height: auto; margin-bottom: 1; }
        & #inspector-findings { height: auto; }
        & #inspector-top { height: auto; layout: vertical; margin-bottom: 1; }
        & #inspector-words { height: auto; }
        & HistogramView { margin-top: 1; }
        &.-filters HistogramView { height: 3; margin-top: 0; }
        &.-wide #inspector-top { layout: horizontal; }
        &.-wide #inspector-words { width: 1fr; margin-right: 2; }
        &.-wide #inspector-headline, &.-wide #inspector-top { margin-bottom: 0; }
        &.-wide #gallery-scale { margin-bottom: 0; }
        &.-wide HistogramView, &.-wide.-filters HistogramView { width: 1fr; margin-top: 0; height: 6; }
        & Gallery { min-height: 8; }
    }
    """
    only_filters: reactive[bool] = reactive(False)
    """Facts and histogram make room for the gallery."""

    class Looked(Message):
        """The bytes of a tensor were looked at, as far as that went."""

        def __init__(
            self,
            token: int,
            *,
            scan: TensorScan | None = None,
            histogram: Histogram | None = None,
            layer: Layer | None = None,
            subject: Subject | None = None,
            error: CkptuiError | None = None,
            stage: Literal["", "scale", "words"] = "",
        ) -> None:
            super().__init__()
            self.token = token
            self.scan = scan
            self.histogram = histogram
            self.layer = layer
            self.subject = subject
            self.error = error
            self.stage = stage
            """`scale`: all filters were looked at for their colours; `words`: all is said that there is to say."""

    @dataclass
    class _Shown:
        """What is on show."""

        listing: Listing
        tensor: Tensor
        scan: TensorScan | None
        layer: Layer | None = None
        histogram: Histogram | None = None
        subject: Subject | None = None

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: Inspector._Shown | None = None
        self._token = 0
        self._cancel = threading.Event()
        self._timer: Timer | None = None
        self._timer_runs = False

    def compose(self) -> ComposeResult:
        yield Words(id="inspector-title")
        yield Words(id="inspector-headline")
        with Container(id="inspector-top"):
            with Vertical(id="inspector-words"):
                yield Facts(id="inspector-facts")
                yield Words(id="inspector-findings")
            yield HistogramView(id="inspector-histogram")
        yield Gallery(id="inspector-gallery")

    def on_mount(self) -> None:
        self.clear()

    @property
    def gallery(self) -> Gallery:
        """The picture of the tensor."""
        return self.query_one(Gallery)

    # ------------------------------------------------------------------ what the screen calls

    def show_tensor(self, listing: Listing, tensor: Tensor, scan: TensorScan | None = None) -> None:
        """Show this tensor; called again with a scan for the same one, only the numbers change."""
        shown = self._shown
        same = shown is not None and shown.listing.artifact.path == listing.artifact.path
        if shown is not None and same and shown.tensor == tensor:
            shown.listing, shown.scan = listing, scan or shown.scan
            self._show_words()
            return
        self._stop()
        self._shown = self._Shown(listing, tensor, scan)
        self.only_filters = self.only_filters and tensor.role in ("kernel", "embedding")
        self._make_room()
        view = self.query_one(HistogramView)
        view.histogram, view.display = None, has_distribution(tensor)
        self._blank()
        self._show_words()
        self._timer, self._timer_runs = self.set_timer(SETTLED, self._look), True

    def clear(self) -> None:
        """Show that nothing is selected."""
        self._stop()
        self._shown = None
        self._make_room()
        self.query_one("#inspector-title", Words).say(Content.styled("No tensor selected", "$dim"))
        self.query_one("#inspector-headline", Words).say(Content(""))
        self._blank()

    def show_filters(self) -> None:
        """Give the gallery the whole pane and the focus; again, the facts come back."""
        self.only_filters = not (self.only_filters and self.has_focus_within)
        self.look_now()
        if self.only_filters and self._shown is not None and self._shown.subject is not None:
            self.call_after_refresh(self.gallery.focus_target.focus)

    def look_now(self) -> None:
        """Read the bytes without waiting for the cursor to rest."""
        if self._timer is not None and self._timer_runs:
            self._timer.stop()
            self._look()

    def why_not(self, action: str) -> str:
        """Why the key for log counts does nothing; empty if it does."""
        view = self.query_one(HistogramView)
        seen = self.query_one("#inspector-top").display and view.display and view.histogram is not None
        return "no histogram in view" if action == "log_counts" and not seen else ""

    def action_log_counts(self) -> None:
        """Draw counts on the other axis."""
        if words := self.why_not("log_counts"):
            say(self, words)
            return
        view = self.query_one(HistogramView)
        view.logarithmic = not view.logarithmic

    # ------------------------------------------------------------------ drawing

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")
        self._show_words()

    def _show_words(self) -> None:
        shown = self._shown
        if shown is None:
            return
        width = max(self.content_size.width, 8)
        title = short_title(shown.tensor, width)
        self.query_one("#inspector-title", Words).say(Content(title))
        self.query_one("#inspector-headline", Words).say(Content("\n".join(wrap(headline(shown.tensor), width))))
        kind = shown.listing.artifact.kind
        self.query_one(Facts).facts = tensor_facts(shown.tensor, shown.scan, shown.layer, kind, shown.histogram)
        self._show_findings()
        self._summarise()

    def _show_findings(self) -> None:
        assert self._shown is not None
        shown = self._shown
        lines = finding_lines(findings_about(shown.tensor, shown.listing, shown.scan), shown.layer)
        words = self.query_one("#inspector-findings", Words)
        words.display = bool(lines)
        words.say(Content("\n").join(lines))

    def _show_subject(self, subject: Subject) -> None:
        """The picture; the keys go to it where it takes some, else to the pane as a whole."""
        had_focus = self.has_focus
        if self._shown is not None:
            self._shown.subject = subject
        self.gallery.show(subject)
        self.set_class(subject.plan == "filters", "-filters")
        self.can_focus = subject.plan == "bars"
        if had_focus and not self.can_focus:
            self.gallery.focus_target.focus()

    def _blank(self) -> None:
        """No picture yet: the keys stay with the pane."""
        had_focus = self.has_focus_within
        self.can_focus = True
        if had_focus:
            self.focus()
        self.gallery.show(None)

    # ------------------------------------------------------------------ looking at the bytes

    def _stop(self) -> None:
        self._cancel.set()
        self._cancel = threading.Event()
        self._token += 1
        if self._timer is not None:
            self._timer.stop()
            self._timer_runs = False

    def _look(self) -> None:
        self._timer_runs = False
        if self._shown is not None:
            self._read(self._shown.listing, self._shown.tensor, self._shown.scan, self._token, self._cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="inspector")
    def _read(
        self, listing: Listing, tensor: Tensor, scan: TensorScan | None, token: int, cancel: threading.Event
    ) -> None:
        """Read what the screen doesn't know yet: first what can be looked at, then what is said about it."""

        def tell(**news: Any) -> None:
            self.post_message(self.Looked(token, **news))

        session = session_of(self)
        try:
            small = tensor.bytes <= LARGEST_DRAWN
            stored = tensor.storage.encoding != "none"
            whole = stored and not tensor.problem
            subject = None
            if small and whole:
                try:
                    subject = self._subject(listing, tensor)
                    tell(subject=subject)
                except Damaged as error:
                    # what the pass over its bytes says is still wanted
                    tell(error=error)
            if scan is None and small and stored:
                for item in session.scan(listing, [tensor.name], cancel=cancel):
                    if isinstance(item, TensorScan):
                        scan = item
                        tell(scan=item)
            if not whole:
                tell(subject=nothing_to_see(stored, scan))
                return
            if has_distribution(tensor):
                tell(histogram=session.histogram(listing, tensor.name, BINS))
            if not small:
                self._read_large(listing, tensor, tell, cancel)
            elif subject is not None and not cancel.is_set():
                if isinstance(subject.pictures, FilterSet) and subject.pictures.decomposed:
                    subject.pictures.complete(cancel.is_set)
                    tell(stage="scale")
                tell(layer=self._layer(listing, tensor, cancel), stage="words")
        except Cancelled:
            return
        except CkptuiError as error:
            tell(error=error)

    def _read_large(self, listing: Listing, tensor: Tensor, tell: Callable[..., None], cancel: threading.Event) -> None:
        """A picture of the strongest values, where the tensor is too large to be fetched."""
        numbers = has_distribution(tensor)
        tell(subject=too_large(tensor, reading=numbers))
        if numbers and not cancel.is_set():
            tell(subject=overview_of(tensor, *session_of(self).overview(listing, tensor.name, OVERVIEW, cancel)))

    def _subject(self, listing: Listing, tensor: Tensor) -> Subject:
        """What can be looked at, before anything is known about it."""
        values, axes = session_of(self).drawable(listing, tensor.name, LARGEST_DRAWN)
        subject = subject_of(tensor, values, None, axes)
        awaited = tensor.role in ANALYSED and subject.plan in ("filters", "matrix")
        return replace(subject, summary=LOOKING) if awaited else subject

    def _layer(self, listing: Listing, tensor: Tensor, cancel: threading.Event) -> Layer | None:
        """The filters of a kernel or embedding, as the analysis sees them."""
        if tensor.role not in ANALYSED:
            return None
        for item in session_of(self).layers(listing, [tensor.name], cancel=cancel):
            if isinstance(item, Layer):
                return item
        return None

    def on_inspector_looked(self, event: Looked) -> None:
        event.stop()
        shown = self._shown
        if event.token != self._token or shown is None:
            return
        shown.scan = shown.scan or event.scan
        shown.layer = shown.layer or event.layer
        shown.histogram = shown.histogram or event.histogram
        if event.histogram is not None:
            self.query_one(HistogramView).histogram = event.histogram
            self.refresh_bindings()
        if event.subject is not None:
            self._show_subject(event.subject)
        elif event.error is not None and (shown.subject is None or shown.subject.plan == "nothing"):
            self._show_subject(Subject("nothing", text=safe(str(event.error))))
        elif shown.subject is not None and (event.stage or event.error is not None):
            self._learn(shown, shown.subject, event)
        self._show_words()

    def _learn(self, shown: _Shown, subject: Subject, event: Looked) -> None:
        """More is known about what is on show, or won't be."""
        if event.error is not None:
            subject = replace(subject, summary=(((safe(str(event.error)), "$error"),),))
        elif shown.layer is not None:
            subject = with_layer(subject, shown.tensor, shown.layer)
        elif event.stage == "words":
            subject = replace(subject, summary=())
        shown.subject = subject
        self.gallery.learn(subject)

    def _summarise(self) -> None:
        """Over filters that have the pane to themselves an implausible value is told too; then something is odd."""
        shown = self._shown
        if shown is None or shown.subject is None:
            return
        odd = implausible(findings_about(shown.tensor, shown.listing, shown.scan))
        self._mark(shown, shown.subject, odd)
        self.gallery.summarise(over_filters(shown.subject.summary, odd, alone=self.only_filters))

    def _mark(self, shown: _Shown, subject: Subject, odd: Finding | None) -> None:
        """Mark the filter or unit that holds the implausible value."""
        if isinstance(subject.pictures, FilterSet) and subject.pictures.hold_implausible(odd is not None):
            self.gallery.grid.renew()
        place = odd.evidence.get("flat_index") if odd is not None else None
        if subject.units is None or not isinstance(place, int):
            return
        units = subject.units.holding(unit_at(shown.tensor, place))
        if units != subject.units:
            shown.subject = replace(subject, units=units)
            self.gallery.learn(shown.subject)

    def watch_only_filters(self) -> None:
        self._make_room()
        self.refresh_bindings()
        self._summarise()

    def _make_room(self) -> None:
        """Facts and histogram are there for a tensor, unless its filters take their place."""
        # not by a class: that looks up the styles of everything in the pane again
        self.query_one("#inspector-top").display = self._shown is not None and not self.only_filters

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is WorkerState.ERROR and event.worker.node is self:
            text = f"{type(event.worker.error).__name__}: {event.worker.error}"
            self._show_subject(Subject("nothing", text=safe(text)))

    def on_unmount(self) -> None:
        self._stop()
