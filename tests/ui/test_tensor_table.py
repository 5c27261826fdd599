"""The tensor table: columns dropped whole, numbers as they should be, 100,000 rows as easily as ten."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from ckptui.core.model import Artifact, Listing, Stats, Tensor, TensorScan
from ckptui.ui.app import Workbench
from ckptui.ui.tensor_rows import Flag, prepare
from ckptui.ui.theme import DARK
from ckptui.ui.widgets.tensor_columns import GAP, SIGNED, UNSIGNED, Wants, cell_text, choose_columns, fold_text
from ckptui.ui.widgets.tensor_table import TensorTable
from tests.ui.driving import WIDE, Bench, until
from tests.ui.fake_session import FakeSession
from tests.ui.test_tensor_rows import Lazy


class TableApp(App[None]):
    """A table alone."""

    CSS_PATH = Workbench.CSS_PATH
    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name

    def compose(self) -> ComposeResult:
        yield TensorTable(id="tensors")

    @property
    def table(self) -> TensorTable:
        return self.query_one(TensorTable)


def huge_listing(count: int = 99_999) -> Listing:
    artifact = Artifact("/x/ckpt-1", "tf-checkpoint", "ckpt-1", 1, 10**12, 1, count, 0, 0.0)
    return Listing(artifact, Lazy(count))


@pytest.mark.parametrize("width", range(1, 160))
def test_columns_take_exactly_the_width_and_none_is_cut(width: int) -> None:
    wants = Wants(name=30, shape=12, state=11)
    columns = choose_columns(width, wants)
    assert sum(c.width for c in columns) + GAP * (len(columns) - 1) <= max(width - 1, 1)
    widths = {c.id: c.width for c in columns}
    assert widths.get("state", 11) >= 11
    assert widths.get("shape", 12) >= 12


@pytest.mark.parametrize("width", range(1, 90))
def test_the_count_of_a_fold_is_never_cut(width: int) -> None:
    for label, count, unit in (("▸ optimizer adam", "    16", "slots"), ("▸ counters", "     2", "")):
        text = fold_text(label, count, unit, "89.4 kB", width)
        assert cell_len(text) <= width
        assert width < 2 or count.strip() in text.split()
        assert width < 26 or label in text
        assert width < 35 or "89.4 kB" in text


def test_the_state_is_the_last_column_to_go() -> None:
    wants = Wants(name=30, shape=12, state=11)
    order = [{c.id for c in choose_columns(width, wants)} for width in range(10, 150)]
    first_seen = {name: next(i for i, ids in enumerate(order) if name in ids) for name in order[-1]}
    assert sorted(first_seen, key=first_seen.__getitem__)[:5] == ["name", "state", "shape", "std", "mean"]


def scan(**numbers: float | int | None) -> TensorScan:
    return TensorScan("a", Stats(count=4, **numbers), "ok")  # type: ignore[arg-type]


def test_cells_say_what_is_known_and_nothing_else() -> None:
    tensor = Tensor("a", "int64", (2, 2), 32)
    assert cell_text("mean", tensor, None) == ""
    assert cell_text("mean", tensor, TensorScan("a", None, "unread")) == "–"
    assert cell_text("mean", tensor, scan(mean=0.5, nan=3)) == "nan"
    assert cell_text("std", tensor, scan()) == "–"
    assert cell_text("shape", tensor, None) == "2×2"


@given(st.floats(allow_nan=False) | st.integers(-(2**63), 2**64))
@example(-0.000123)
@example(0.000987)
@example(-1.2e-300)
@example(99_999)
def test_no_number_is_wider_than_its_column(value: float | int) -> None:
    tensor = Tensor("a", "float32", (4,), 16)
    assert len(cell_text("min", tensor, scan(min=value))) <= SIGNED
    assert len(cell_text("std", tensor, scan(std=abs(value)))) <= UNSIGNED


async def test_a_hundred_thousand_rows_are_shown_and_scrolled_at_once() -> None:
    app = TableApp()
    async with app.run_test(size=(120, 40)) as pilot:
        rows = prepare(huge_listing())
        table = app.table
        table.focus()
        await pilot.pause()
        started = time.thread_time()
        table.show(rows, {}, {})
        lines = [table.render_line(y) for y in range(40)]
        assert time.thread_time() - started < 0.2
        assert all(cell_len(line.text) == lines[0].cell_length for line in lines)
        frames = []
        for where in ["page-down"] * 60 + ["bottom", "top"] * 5:
            started = time.thread_time()
            table.action_move(where)
            [table.render_line(y) for y in range(40)]
            frames.append(time.thread_time() - started)
        assert sorted(frames)[len(frames) // 2] < 0.016
        lazy = rows.source.listing.tensors
        assert isinstance(lazy, Lazy)
        assert lazy.decoded < 8_000, "only what was seen is decoded"


async def test_a_huge_table_filters_and_sorts_in_a_thread_and_answers_the_last_question() -> None:
    app = TableApp()
    async with app.run_test(size=(120, 40)) as pilot:
        table = app.table
        table.show(prepare(huge_listing()), {}, {})
        for text in ("b", "bl", "block_77", "block_771"):
            started = time.thread_time()
            table.filter(text)
            assert time.thread_time() - started < 0.05
        await until(pilot, lambda: table.rows is not None and table.rows.query.text == "block_771")
        assert table.rows is not None
        assert len(table.rows) == 33


async def test_flags_that_come_later_rise_to_the_top() -> None:
    app = TableApp()
    async with app.run_test(size=(120, 40)) as pilot:
        rows = prepare(huge_listing())
        flags: dict[str, Flag] = {}
        app.table.show(rows, {}, flags)
        name = rows.source.names[50_001]
        flags[name] = Flag("error", "NaN 1")
        app.table.learn(fresh=True)
        await until(pilot, lambda: app.table.tensor is not None and app.table.tensor.name == name)


async def test_the_workbench_shows_a_hundred_thousand_tensors() -> None:
    session = FakeSession()
    listing = huge_listing()
    session.add("/x/ckpt-1", "tf-checkpoint", {})
    session.listings["/x/ckpt-1"] = listing
    app = Bench(session, ["/x"])
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.main.view.table.row_count() == 66_667)
        await pilot.press("G", "k", "n", "slash", *"block_333")
        await until(pilot, lambda: app.main.view.table.row_count() < 1000)
        assert session.scanned == [] or all(len(names) == 1 for _, names in session.scanned)
