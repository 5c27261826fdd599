"""One pair of a diff closely: the numbers of both, and both filters with their difference, or both histograms."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ckptui.core.model import Pair
from ckptui.core.text import safe
from ckptui.ui.diff_job import Close
from ckptui.ui.diff_rows import distance_lines, number_lines, pair_subtitle, pair_title, side_by_side
from ckptui.ui.fitting import fit_middle
from ckptui.ui.widgets.cells import Drawing, drawing_of
from ckptui.ui.widgets.gallery import Gallery
from ckptui.ui.widgets.histogram import OverlaidHistograms


class PairView(VerticalScroll, can_focus=True):
    """Shows what is known of a pair, more as it comes."""

    DEFAULT_CSS = """
    PairView {
        height: 1fr;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & #pair-title { text-style: bold; height: 1; }
        & #pair-subtitle { color: $dim; height: auto; margin-bottom: 1; }
        & #pair-numbers { height: auto; margin-bottom: 1; }
        & #pair-legend { height: 1; }
        & Gallery { min-height: 8; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._close: Close | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="pair-title", markup=False)
        yield Static(id="pair-subtitle", markup=False)
        yield Static(id="pair-numbers", markup=False)
        yield Static(
            Content.assemble(("■ A", "$mark"), ("   ■ B", "$secondary"), ("   ■ both", "$dim")),
            id="pair-legend",
            markup=False,
        )
        yield OverlaidHistograms(id="pair-histograms")
        yield Gallery(id="pair-gallery")

    def on_mount(self) -> None:
        self.show(None)

    @property
    def gallery(self) -> Gallery:
        """The triples of filters."""
        return self.query_one(Gallery)

    def show_pair(self, pair: Pair | None) -> None:
        """Show what the table knows of a pair already."""
        self.show(None if pair is None else Close(pair, (None, None)))

    def show(self, close: Close | None) -> None:
        """Show a close look as far as it went."""
        self._close = close
        histograms = close.histograms if close is not None else None
        self.query_one(OverlaidHistograms).show(histograms)
        self.query_one(OverlaidHistograms).display = histograms is not None
        coloured = drawing_of(self.app) is Drawing.COLOUR
        self.query_one("#pair-legend").display = histograms is not None and coloured
        subject = close.subject if close is not None else None
        had_focus = self.has_focus
        if self.gallery.subject is not subject or subject is None:
            self.gallery.show(subject)
        self.gallery.display = subject is not None
        if had_focus and subject is not None:
            self.gallery.grid.focus()
        self._show_words()

    def on_resize(self) -> None:
        self._show_words()

    def _show_words(self) -> None:
        close = self._close
        width = max(self.scrollable_content_region.width, 16)
        title = fit_middle(pair_title(close.pair, *close.tensors), width) if close is not None else ""
        self.query_one("#pair-title", Static).update(Content(title))
        lines: list[Content] = []
        subtitle = ""
        if close is not None:
            subtitle = pair_subtitle(close.pair, *close.tensors)
            apart = distance_lines(close.pair, width)
            numbers = number_lines(*close.stats, width) if any(close.stats) else []
            lines += [Content(line) for line in side_by_side(apart, numbers, width)]
            if close.pair.detail:
                lines.append(Content.styled(safe(close.pair.detail), "$warning"))
            if close.error:
                lines.append(Content.styled(safe(close.error), "$error"))
        self.query_one("#pair-subtitle", Static).update(Content(subtitle))
        self.query_one("#pair-numbers", Static).update(Content("\n").join(lines))
