"""All about the tensor under the cursor: names, numbers, histogram and picture."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ckptui.core.model import Finding, Histogram, Layer, Listing, Tensor, TensorScan
from ckptui.core.report import SIGNS, worst_first
from ckptui.core.text import human_bytes, safe
from ckptui.errors import Cancelled, CkptuiError
from ckptui.ui.access import session_of
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import wrap
from ckptui.ui.widgets.facts import Facts, headline, short_title, tensor_facts
from ckptui.ui.widgets.gallery import Gallery
from ckptui.ui.widgets.histogram import HistogramView
from ckptui.ui.widgets.subject import Subject, subject_of

LARGEST_DRAWN = 40_000_000
"""Bytes of a tensor that are fetched to be drawn; larger ones show numbers and histogram only."""
BINS = 120
SETTLED = 0.08
"""Seconds the cursor must rest before bytes are read."""
WIDE = 76
"""From this width facts and histogram stand side by side."""
TOLD_BY_GALLERY: dict[str, tuple[str, ...]] = {
    "untouched-filters": ("untouched",),
    "at-initializer": ("untouched",),
    "dead-filters": ("dead", "zero"),
    "duplicate-filters": ("duplicate",),
    "symmetric-filters": ("symmetric",),
}
"""Findings that the words over the gallery tell, as soon as the layer has such counts."""
SEVERITY_STYLES = {"error": "$error", "warning": "$warning", "info": "$dim"}


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
        &.-wide #inspector-top { layout: horizontal; }
        &.-wide #inspector-words { width: 1fr; margin-right: 2; }
        &.-wide #inspector-headline, &.-wide #inspector-top { margin-bottom: 0; }
        &.-wide #gallery-scale { margin-bottom: 0; }
        &.-wide HistogramView { width: 1fr; margin-top: 0; height: 6; }
        &.-filters #inspector-top { display: none; }
        &.-empty #inspector-top { display: none; }
        & Gallery { min-height: 8; }
    }
    """
    only_filters: reactive[bool] = reactive(False, toggle_class="-filters")
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
        ) -> None:
            super().__init__()
            self.token = token
            self.scan = scan
            self.histogram = histogram
            self.layer = layer
            self.subject = subject
            self.error = error

    @dataclass
    class _Shown:
        """What is on show."""

        listing: Listing
        tensor: Tensor
        scan: TensorScan | None
        layer: Layer | None = None

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: Inspector._Shown | None = None
        self._token = 0
        self._cancel = threading.Event()
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="inspector-title", markup=False)
        yield Static(id="inspector-headline", markup=False)
        with Container(id="inspector-top"):
            with Vertical(id="inspector-words"):
                yield Facts(id="inspector-facts")
                yield Static(id="inspector-findings", markup=False)
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
        self.set_class(False, "-empty")
        view = self.query_one(HistogramView)
        view.histogram, view.display = None, _has_distribution(tensor)
        self._blank()
        self._show_words()
        self._timer = self.set_timer(SETTLED, self._look)

    def clear(self) -> None:
        """Show that nothing is selected."""
        self._stop()
        self._shown = None
        self.set_class(True, "-empty")
        self.query_one("#inspector-title", Static).update(Content.styled("No tensor selected", "$dim"))
        self.query_one("#inspector-headline", Static).update("")
        self._blank()

    def show_filters(self) -> None:
        """Give the gallery the whole pane and the focus; again, the facts come back."""
        self.only_filters = not (self.only_filters and self.has_focus_within)
        if self.only_filters and self.gallery.grid.display:
            self.call_after_refresh(self.gallery.grid.focus)

    def action_log_counts(self) -> None:
        """Draw counts on the other axis."""
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
        self.query_one("#inspector-title", Static).update(Content(title))
        self.query_one("#inspector-headline", Static).update(Content("\n".join(wrap(headline(shown.tensor), width))))
        kind = shown.listing.artifact.kind
        self.query_one(Facts).facts = tensor_facts(shown.tensor, shown.scan, shown.layer, kind)
        self._show_findings()

    def _show_findings(self) -> None:
        assert self._shown is not None
        name, scan = self._shown.tensor.name, self._shown.scan
        counts = self._shown.layer.counts if self._shown.layer is not None else {}
        hidden = {code for code, keys in TOLD_BY_GALLERY.items() if any(counts.get(key) for key in keys)}
        told: dict[str, Finding] = {
            f.code: f
            for f in (*self._shown.listing.findings, *(scan.findings if scan else ()))
            if f.tensor == name and f.code not in hidden
        }
        lines = [
            Content.assemble((f"{SIGNS[f.severity]} {safe(f.title)}", SEVERITY_STYLES[f.severity]))
            for f in worst_first(told.values())
        ]
        words = self.query_one("#inspector-findings", Static)
        words.display = bool(lines)
        words.update(Content("\n").join(lines))

    def _show_subject(self, subject: Subject) -> None:
        """The picture; the keys go to it where it takes some, else to the pane as a whole."""
        had_focus = self.has_focus
        self.gallery.show(subject)
        self.can_focus = subject.plan in ("matrix", "bars")
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

    def _look(self) -> None:
        if self._shown is not None:
            self._read(self._shown.listing, self._shown.tensor, self._shown.scan, self._token, self._cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="inspector")
    def _read(
        self, listing: Listing, tensor: Tensor, scan: TensorScan | None, token: int, cancel: threading.Event
    ) -> None:
        """Read what the screen doesn't know yet, the quickest to see first."""
        session = session_of(self)
        try:
            small = tensor.bytes <= LARGEST_DRAWN
            stored = tensor.storage.encoding != "none"
            if scan is None and small and stored:
                for item in session.scan(listing, [tensor.name], cancel=cancel):
                    if isinstance(item, TensorScan):
                        scan = item
                        self.post_message(self.Looked(token, scan=item))
            if not stored or tensor.problem:
                unread = not stored or scan is None or scan.checksum == "unread"
                text = "its bytes can't be read" if unread else "no picture: it contradicts its entry"
                self.post_message(self.Looked(token, subject=Subject("nothing", text=text)))
                return
            if _has_distribution(tensor):
                found = session.histogram(listing, tensor.name, BINS)
                self.post_message(self.Looked(token, histogram=found))
            if cancel.is_set():
                return
            if not small:
                text = f"{human_bytes(tensor.bytes)}: too large to draw here"
                self.post_message(self.Looked(token, subject=Subject("nothing", text=text)))
                return
            array = session.array(listing, tensor.name, LARGEST_DRAWN)
            layer = self._layer(listing, tensor, cancel)
            self.post_message(self.Looked(token, layer=layer, subject=subject_of(tensor, array, layer)))
        except Cancelled:
            return
        except CkptuiError as error:
            self.post_message(self.Looked(token, error=error))

    def _layer(self, listing: Listing, tensor: Tensor, cancel: threading.Event) -> Layer | None:
        """The filters of a kernel or embedding, as the analysis sees them."""
        if tensor.role not in ("kernel", "embedding"):
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
        if event.histogram is not None:
            self.query_one(HistogramView).histogram = event.histogram
        if event.subject is not None:
            self._show_subject(event.subject)
        if event.error is not None:
            self._show_subject(Subject("nothing", text=safe(str(event.error))))
        self._show_words()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is WorkerState.ERROR and event.worker.node is self:
            text = f"{type(event.worker.error).__name__}: {event.worker.error}"
            self._show_subject(Subject("nothing", text=safe(text)))

    def on_unmount(self) -> None:
        self._stop()


def _has_distribution(tensor: Tensor) -> bool:
    """Is there more than one number in it?"""
    return tensor.dtype not in ("string", "variant", "resource") and tensor.count > 1
