"""What goes onto the sheet and where: pure arithmetic on what was found, before any value is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ckptui.core.filter_flags import Flag, flag_of, mirror_scores
from ckptui.core.model import Artifact, Finding, Layer, Listing, Tensor
from ckptui.core.pictures import has_places
from ckptui.core.report import counts_text, worst_first
from ckptui.core.text import human_bytes, human_count
from ckptui.sheet.words import Line, counted, lines_of

Sort = Literal["index", "symmetry", "norm", "flagged"]
SORTS: tuple[Sort, ...] = ("index", "symmetry", "norm", "flagged")

WIDTH = 1168
MARGIN = 24
INNER = WIDTH - 2 * MARGIN
"""All sizes are pixels."""
MOST_HEIGHT = 16_000
ROOMY = 2_400
"""Up to this height the pictures of several layers are as large as those of one."""
MOST_FILTERS = 1024
"""Drawn of one layer alone; as many as fit in height."""
CAPS = (240, 120, 72, 48, 24)
"""Of each of several layers at most: the first with which everything fits. Whole rows, of small filters."""
SIZES = ((32, 78), (256, 56), (1024, 33))
"""Pictures of so many filters at most get so large an edge: 12, 16 or 24 fill a row."""
SMALL_EDGE, LARGE_EDGE = 33, 56
"""Of pictures on a crowded sheet; and how far they grow where long labels make room."""
HEADER = 64
"""Title lines at the top."""
LINE = 18
TITLE = 24
SCALE = 26
AFTER = 26
"""Below a block."""
LABEL = 15
"""Above a frame: index and word."""
FRAME = 3
"""Around a picture: a line, and a pixel between line and picture."""
GAP = 8
LETTER = 7
"""Width of a letter of a label, at most."""
ENLARGED = 26
"""Pixels of one weight along a side, at most."""
LANE = 10
"""Beside a heat map: the marks of flagged units."""
HEAT_HEIGHTS = ((MOST_FILTERS, 360), (72, 120), (0, 56))
"""Of heat maps, where so many filters of a layer may be drawn."""
HEAT_ENLARGED = 12
REASON_BOX = 40
MOST_LISTED = 24
"""Flagged units named under a heat map."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How pictures of one size lie in rows of frames."""

    height: int
    """Of a picture, in weights, with the gaps between slices of a 3-D kernel."""
    width: int
    scale: int
    """Pixels a weight."""
    pitch: int
    """From frame to frame, across."""
    columns: int
    rows: int

    @property
    def row_height(self) -> int:
        """From frame to frame, down."""
        return LABEL + self.height * self.scale + 2 * FRAME + GAP


@dataclass(frozen=True, slots=True)
class Heat:
    """A heat map: at most this many values are asked for and drawn."""

    rows: int
    columns: int
    full: tuple[int, int]
    """Rows and columns before anything was reduced."""
    down: int
    """Pixels a value, along each axis."""
    right: int
    names: tuple[str, str]
    """What rows and columns are."""
    by_rows: bool
    """What is flagged (units, entries) are rows."""
    turned: bool
    """Drawn on its side: the tensor has more rows than columns."""


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor on the sheet."""

    tensor: Tensor
    layer: Layer | None
    lines: tuple[Line, ...]
    flags: Mapping[int, Flag]
    picks: tuple[int, ...] = ()
    """Filters shown, in their order."""
    grid: Grid | None = None
    heat: Heat | None = None
    """Neither: nothing can be drawn, and the lines say why."""

    @property
    def body(self) -> int:
        """Height of what is drawn under the words."""
        if self.grid is not None:
            return SCALE + self.grid.rows * self.grid.row_height
        if self.heat is not None:
            return SCALE + LANE + self.heat.rows * self.heat.down + 6 + LINE * len(self.listed)
        return REASON_BOX

    @property
    def height(self) -> int:
        """All of it."""
        return TITLE + LINE * len(self.lines) + self.body + AFTER

    @property
    def listed(self) -> list[tuple[Flag, str]]:
        """Under a heat map: a line for each kind of flag, and the units that have it."""
        units: dict[str, list[int]] = {}
        kinds: dict[str, Flag] = {}
        for index, flag in self.flags.items():
            word = kind_of(flag).word
            kinds.setdefault(word, kind_of(flag))
            units.setdefault(word, []).append(index)
        told = []
        for word, found in units.items():
            if self.layer is not None and len(found) == self.layer.filters:
                told.append((kinds[word], f"all {human_count(len(found))}"))
                continue
            more = f" … {human_count(len(found))} in all" if len(found) > MOST_LISTED else ""
            told.append((kinds[word], ", ".join(map(str, found[:MOST_LISTED])) + more))
        return told


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole sheet."""

    title: str
    facts: str
    notes: tuple[Line, ...]
    """What is wrong with the save as a whole."""
    legend: tuple[tuple[Flag, int], ...]
    """Kinds of flags on the sheet, and on how many filters."""
    blocks: tuple[Block, ...]
    footer: tuple[str, ...]
    """What was left out."""
    sort: Sort
    per_filter: bool

    @property
    def top(self) -> int:
        """Where the first block begins."""
        return MARGIN + HEADER + LINE * (len(self.notes) + -(-len(self.legend) // 2)) + 24

    @property
    def height(self) -> int:
        """Of the image."""
        return self.top + sum(b.height for b in self.blocks) + LINE * len(self.footer) + MARGIN


def kind_of(flag: Flag) -> Flag:
    """The flag without what differs from filter to filter, and without its word again in what it means."""
    if flag.word.startswith("="):
        return Flag("=N", flag.tone, "a duplicate of filter N")
    return replace(flag, meaning=flag.meaning.removeprefix(f"{flag.word}: "))


def make_plan(
    listing: Listing,
    layers: Sequence[Layer],
    chosen: Sequence[str],
    *,
    sort: Sort = "index",
    per_filter: bool = False,
) -> Plan:
    """Lay out the tensors `chosen`, of which `layers` could be looked at; the listing has all findings."""
    known = {layer.tensor: layer for layer in layers}
    wanted = set(chosen)
    here = [t for t in listing.tensors if t.name in wanted]
    told: dict[str | None, list[Finding]] = {}
    for finding in worst_first(listing.findings):
        told.setdefault(finding.tensor, []).append(finding)
    # what holds no floating point has no filters, and nothing is wrong with that
    drawable = [(t, known.get(t.name)) for t in here if t.name in known or t.name in told or t.problem]
    without = [t for t in here if t.name not in known and t.name not in told and not t.problem]
    names = {t.name for t in listing.tensors}
    # of tensors that could not even be listed there is no block to say it
    whole = [f for name, some in told.items() if name not in names for f in some if f.severity != "info"]
    shown = [*whole, *(f for t, _ in drawable for f in told.get(t.name, ()))]
    facts = _facts(listing.artifact, len(layers), len(drawable), shown, sort, per_filter)
    plan = Plan(listing.artifact.label, facts, lines_of(whole), (), (), (), sort, per_filter)
    tries = [(cap, False) for cap in CAPS]
    if len(drawable) == 1:
        tries = [(cap, True) for cap in (MOST_FILTERS, MOST_FILTERS // 2, *CAPS)]
    for cap, large in ((MOST_FILTERS, True), *tries):
        blocks = [_block(t, layer, told.get(t.name, []), cap, sort, large=large) for t, layer in drawable]
        plan = replace(plan, blocks=tuple(blocks), legend=_legend(blocks))
        if plan.height <= (ROOMY if large and len(drawable) > 1 else MOST_HEIGHT):
            break
    plan = _cut(plan)
    footer = list(plan.footer)
    if without:
        footer.append(f"Without filters: {_names(without)}.")
    return replace(plan, footer=tuple(footer))


def _facts(artifact: Artifact, read: int, kernels: int, shown: Sequence[Finding], sort: Sort, per_filter: bool) -> str:
    facts = [artifact.kind, *([f"step {artifact.step}"] if artifact.step is not None else [])]
    facts.append(human_bytes(artifact.bytes))
    facts.append(f"{read} of {kernels} kernels" if read < kernels else f"{read} kernel{'s' if read != 1 else ''}")
    facts += [counts_text(shown)] if counts_text(shown) else []
    if sort != "index":
        facts.append({"flagged": "flagged first"}.get(sort, f"by {sort}"))
    facts.append("each filter on its own colour scale" if per_filter else "one colour scale a layer")
    return " · ".join(facts)


def _legend(blocks: Sequence[Block]) -> tuple[tuple[Flag, int], ...]:
    kinds: Counter[Flag] = Counter()
    for block in blocks:
        shown = block.flags if block.heat is not None else [i for i in block.picks if i in block.flags]
        kinds.update(kind_of(block.flags[i]) for i in shown)
    return tuple(kinds.most_common())


def _cut(plan: Plan) -> Plan:
    """Leave out what does not fit in height: layers with nothing to tell first, the last of them first."""
    kept = list(plan.blocks)
    left_out: list[Tensor] = []
    height = plan.height + LINE
    for telling in (False, True):
        for block in reversed(plan.blocks):
            if height <= MOST_HEIGHT or len(kept) == 1:
                break
            if telling == bool(block.flags or any(line.tone in ("error", "warning") for line in block.lines)):
                kept.remove(block)
                left_out.append(block.tensor)
                height -= block.height
    if not left_out:
        return plan
    quiet = "" if any(b.flags for b in plan.blocks if b.tensor in left_out) else ", nothing flagged in any of them"
    words = f"Left out, for height{quiet}: {_names(left_out[::-1])}. Name one to see it alone."
    return replace(plan, blocks=tuple(kept), legend=_legend(kept), footer=(words,))


def _names(tensors: Sequence[Tensor]) -> str:
    names = ", ".join(t.name for t in tensors[:3])
    return names if len(tensors) <= 3 else f"{names} … {len(tensors)} in all"


def _block(
    tensor: Tensor, layer: Layer | None, findings: Sequence[Finding], cap: int, sort: Sort, *, large: bool
) -> Block:
    told = lines_of(findings)
    if layer is None:
        return Block(tensor, None, told or (Line("error", tensor.problem),), {})
    flags = {f.index: flag for f in layer.detail if (flag := flag_of(f, layer)) is not None}
    block = Block(tensor, layer, (*counted(layer), *told), flags)
    height, width = extent(layer.kernel)
    if has_places(layer.kernel) and width + 2 * FRAME <= INNER:
        picks = choose(layer, flags, sort, cap)
        return replace(block, picks=picks, grid=_grid(height, width, [label_of(i, flags) for i in picks], large))
    return replace(block, heat=_heat(layer, tensor.role == "embedding", cap))


def choose(layer: Layer, flags: Mapping[int, Flag], sort: Sort, cap: int) -> tuple[int, ...]:
    """Filters in their order; of more than `cap` the flagged, then the first of the others."""
    found = {f.index: f for f in layer.detail}

    def key(index: int) -> float:
        if sort == "norm":
            return -found[index].l2 if index in found else 1.0
        if sort == "symmetry":
            scores = mirror_scores(found[index]) if index in found else []
            return -max(scores) if scores else 2.0
        return float(index not in flags) if sort == "flagged" else 0.0

    order = sorted(range(layer.filters), key=key)
    if len(order) <= cap:
        return tuple(order)
    kept = set(sorted(order, key=lambda index: index not in flags)[:cap])
    return tuple(index for index in order if index in kept)


def label_of(index: int, flags: Mapping[int, Flag]) -> str:
    """What stands above a frame."""
    return f"{index} {flags[index].word}" if index in flags else str(index)


def extent(kernel: Sequence[int]) -> tuple[int, int]:
    """Height and width of a picture in weights; slices of a 3-D kernel lie side by side, a gap between them."""
    if len(kernel) == 3:
        return kernel[1], kernel[0] * (kernel[2] + 1) - 1
    return (1, kernel[0]) if len(kernel) == 1 else (kernel[0], kernel[1]) if kernel else (0, 0)


def _grid(height: int, width: int, labels: Sequence[str], large: bool) -> Grid:
    count = len(labels)
    edge = next(edge for most, edge in SIZES if count <= most) if large else SMALL_EDGE
    scale = max(1, min(edge // height, 2 * edge // width, ENLARGED))
    letters = LETTER * max(map(len, labels), default=1)
    scale = max(scale, min((letters - 2 * FRAME) // width, LARGE_EDGE // height, ENLARGED))
    pitch = max(width * scale + 2 * FRAME, letters) + GAP
    columns = max(1, (INNER + GAP) // pitch)
    # rows of a round number of filters: an index is found by counting
    columns -= columns % 8 if columns >= 16 else columns % 4 if columns >= 8 else 0
    return Grid(height, width, scale, pitch, columns, -(-count // columns))


def _heat(layer: Layer, embedding: bool, cap: int) -> Heat:
    """The longer axis lies across: a sheet is wider than a heat map may be high."""
    cells = layer.channels * math.prod(layer.kernel)
    full, names = ((layer.filters, cells), ("entries", "dimensions")) if embedding else (
        (cells, layer.filters), ("inputs", "units" if not layer.kernel else "filters")
    )  # fmt: skip
    turned = full[0] > full[1]
    if turned:
        full, names = full[::-1], names[::-1]
    most_high, most_wide = next(high for least, high in HEAT_HEIGHTS if cap >= least), INNER - LANE
    rows, columns = min(full[0], most_high), min(full[1], most_wide)
    down, right = min(most_high // rows, HEAT_ENLARGED), min(most_wide // columns, HEAT_ENLARGED)
    down, right = min(down, 4 * right), min(right, 4 * down)
    return Heat(rows, columns, full, down, right, names, embedding != turned, turned)


def scale_facts(block: Block) -> str:
    """`all 32`, `512 of 2048, flagged ones first`, or what a heat map's axes are."""
    if block.heat is not None:
        (rows, columns), names = block.heat.full, block.heat.names
        words = f"{human_count(rows)} {names[0]} down, {human_count(columns)} {names[1]} across"
        if (block.heat.rows, block.heat.columns) == block.heat.full:
            return words
        each = -(-rows // block.heat.rows), -(-columns // block.heat.columns)
        return f"{words}; a pixel is the strongest of {each[0]}x{each[1]}"
    assert block.layer is not None
    total = block.layer.filters
    if len(block.picks) == total:
        return f"all {human_count(total)} filters"
    return f"{human_count(len(block.picks))} of {human_count(total)} filters" + (
        ", flagged ones first" if block.flags else ""
    )
