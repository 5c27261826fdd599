"""The timeline tab as one uses it: begun when it is opened, filling while keys are answered, two cursors, curves."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from textual.pilot import Pilot

from ckptui.core.model import Finding, Found, Kind, Listing, RunFolder, SaveColumn, Scalars, TensorPoint, TimelineRow
from ckptui.errors import Damaged
from ckptui.ui.screens.diff import DiffScreen
from ckptui.ui.timeline_rows import NEVER
from ckptui.ui.widgets.heat_over_saves import HeatOverSaves
from ckptui.ui.widgets.key_footer import KeyFooter
from ckptui.ui.widgets.tab_line import TabLine
from ckptui.ui.widgets.timeline_table import TimelineTable
from tests.ui.cells_at import line, text
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import ROOT, RUN, FakeSession, digits
from tests.ui.pane_data import Array

HUGE = (200, 50)


def table(app: Bench) -> TimelineTable:
    return app.main.timeline.table


async def opened(pilot: Pilot[None], app: Bench) -> TimelineTable:
    """The tab is open and the timeline through."""
    await settled(pilot, app)
    await pilot.press("t")
    await until(pilot, lambda: app.main.timeline.course is not None and app.main.timeline.course.report is not None)
    await until(pilot, lambda: not app.main.timeline.filling)
    await pilot.pause()
    return table(app)


def long_run(saves: int, tensors: int) -> FakeSession:
    """A run of many saves of small kernels."""
    session = FakeSession()
    draw = np.random.default_rng(5)
    start: Array = draw.normal(size=(tensors, 8)).astype(np.float32)
    paths = []
    for n in range(saves):
        start = start + draw.normal(size=start.shape).astype(np.float32) / (n + 1)
        values = {f"layer_{i:03}/kernel": (start[i].copy(), "kernel") for i in range(tensors)}
        values["frozen/kernel"] = (np.ones(4, np.float32), "kernel")
        path = f"{ROOT}/long/ckpt-{n + 1}"
        paths.append(path)
        session.add(
            path,
            "tf-checkpoint",
            values,  # type: ignore[arg-type]
            run=f"{ROOT}/long",
            step=100 * (n + 1),
            modified=1000.0 + n,
            latest=n == saves - 1,
        )
    session.found.append(RunFolder(f"{ROOT}/long", "long", tuple(paths), paths[-1]))
    return session


# ------------------------------------------------------------------ the tab


async def test_it_begins_only_when_its_tab_is_opened_and_a_save_alone_is_told_what_a_run_is() -> None:
    app = Bench()
    async with app.run_test(size=(140, 40)) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        assert app.fake.timelines == []
        tabs = [tab.id for tab in app.main.query_one(TabLine).tabs]
        assert tabs == ["tensors", "findings", "architecture", "timeline", "about"]
        for key, tab in zip("12345", tabs, strict=True):
            await pilot.press(key)
            assert app.main.view.tab == tab
        await until(pilot, lambda: app.fake.timelines == [(RUN, False)])
        await pilot.press("1", "t")
        await at_rest(pilot, app)
        assert app.fake.timelines == [(RUN, False)], "what is told is not read again"
        app.main.save_tree.select(f"{ROOT}/digits.keras")
        app.main.open_save(f"{ROOT}/digits.keras")
        await settled(pilot, app)
        await pilot.press("t")
        await pilot.pause()
        assert "This save stands alone" in screen_text(app)
        await pilot.press("escape")
        assert app.main.view.showing == "tensors"


async def test_the_worst_tensor_is_on_top_and_measures_orders_folds_and_flags_have_their_keys() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        rows = await opened(pilot, app)
        assert rows.has_focus
        assert rows.track is not None
        assert rows.track.name == "dense/kernel"
        row = text(rows, rows.head_lines)
        assert "NaN since ckpt-5" in row
        sparks = [(char, style) for char, style in line(rows, rows.head_lines) if char == "!"]
        assert sparks[0][1].reverse
        everything = screen_text(app)
        assert f"▸ {NEVER}  2" in everything
        assert "▸ optimizer  16" in everything
        assert "run  5 saves" in everything
        head = rows.head_lines - 1
        assert "change" in text(rows, head)
        await pilot.press("x")
        measures = [rows.query_now.measure]
        await pilot.press("x")
        assert [*measures, rows.query_now.measure] == ["norm", "non-finite"]
        assert "·" in text(rows, rows.head_lines + 2)
        await pilot.press("s", "s")
        names = [rows.course.tracks[i].name for i in rows.rows.order if i >= 0] if rows.course else []
        assert names == sorted(names)
        before = rows.row_count()
        app.main.set_focus(rows)
        rows.move_to(before - 3)
        await pilot.press("enter")
        assert rows.row_count() == before + 2
        await pilot.press("n")
        assert rows.track is not None
        assert rows.track.name == "dense/kernel"


async def test_two_cursors_enter_opens_the_save_under_that_of_the_axis_and_two_saves_are_compared() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        rows = await opened(pilot, app)
        assert rows.place == 4
        await pilot.press("down", "left", "left_square_bracket", "h")
        assert (rows.cursor, rows.place) == (1, 1)
        assert "ckpt-2  step 2,000" in str(app.main.view.border_subtitle)
        await pilot.press("l", "enter")
        await until(pilot, lambda: app.main.current == f"{RUN}/ckpt-3")
        await settled(pilot, app)
        assert app.main.view.showing == "tensors"
        assert app.main.save_tree.row is not None
        assert app.main.save_tree.row.key == f"{RUN}/ckpt-3"
        await pilot.press("t")
        await pilot.pause()
        assert table(app).place == 2, "the axis shows the save on show"
        rows = table(app)
        await pilot.press("home", "left", "space", "right", "right", "d")
        await until(pilot, lambda: isinstance(app.screen, DiffScreen))
        assert isinstance(app.screen, DiffScreen)
        assert [side.artifact.label for side in (app.screen.a, app.screen.b)] == ["ckpt-2", "ckpt-4"]
        await pilot.press("escape")
        assert app.main.ledger.mark == f"{RUN}/ckpt-2"
        assert rows.mark == 1
        assert "A" in text(rows, 1)
        await pilot.press("left", "left", "m")
        assert app.main.ledger.mark is None
        await pilot.press("right", "d")
        await until(pilot, lambda: isinstance(app.screen, DiffScreen))
        assert isinstance(app.screen, DiffScreen)
        assert [side.artifact.label for side in (app.screen.a, app.screen.b)] == ["ckpt-2", "ckpt-3"]


# ------------------------------------------------------------------ filling


async def test_asked_for_before_its_save_is_open_it_has_the_keys_and_is_usable_while_it_fills() -> None:
    session = digits()
    held = threading.Event()
    opening = session.open

    def slowly(path: str, kind: Kind | None = None, found: Found | None = None) -> Listing:
        held.wait(5)
        return opening(path, kind, found)

    session.open = slowly  # type: ignore[method-assign]
    session.course_gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "opening")
        await pilot.press("t")
        held.set()
        await until(pilot, lambda: app.main.timeline.course is not None)
        assert app.focused is table(app)
        await pilot.press("left", "left")
        assert table(app).place == 2
        assert "reading 1 of 5" in str(app.main.view.border_title)
        assert "┈" in text(table(app), 1)
        await pilot.press("escape")
        assert app.main.view.showing == "tensors"
        session.course_gate.set()
        course = app.main._courses[RUN]
        await until(pilot, lambda: course.report is not None)
        assert session.read_for_course == list(course.places), "leaving the tab does not stop it"


async def test_the_timeline_of_another_run_takes_the_first_one_back() -> None:
    session = digits()
    other = long_run(3, 2)
    session.found += other.found
    session.listings |= other.listings
    session.values |= other.values
    session.course_gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("t")
        await until(pilot, lambda: app.main.timeline.course is not None)
        cancel = app.main._cancels["timeline"]
        app.main.save_tree.select(f"{ROOT}/long/ckpt-3")
        app.main.open_save(f"{ROOT}/long/ckpt-3")
        await until(pilot, lambda: session.timelines[-1] == (f"{ROOT}/long", False))
        assert cancel.is_set()
        session.course_gate.set()
        await until(pilot, lambda: app.main.timeline.course is not None and not app.main.timeline.filling)
        assert [path for path in session.read_for_course if path.startswith(RUN)] == []


async def test_two_hundred_saves_of_five_hundred_tensors_do_not_hold_the_keys_up() -> None:
    session = long_run(200, 1)
    rows = tuple(TimelineRow(f"layer_{i:03}/kernel", (8,), "float32", "kernel") for i in range(500))
    session.prepared = [
        SaveColumn(
            place,
            listing.artifact,
            rows if not place else (),
            {
                i: TensorPoint(1.0, 0.1 / (place + 1), 8 if place else None, int(place >= 120 and i == 7), 8)
                for i in range(500)
            },
        )
        for place, listing in enumerate(session.listings.values())
    ]
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "checked")
        await at_rest(pilot, app)
        app.main.save_tree.moved_by_user = True
        session.course_gate.clear()
        started, work = time.perf_counter(), time.process_time()
        await pilot.press("t")
        await until(pilot, lambda: app.main.timeline.course is not None and text(table(app), 1).strip())
        first, work = time.perf_counter() - started, time.process_time() - work
        session.course_gate.set()
        shown = table(app)
        lags: list[float] = []
        while app.main.timeline.filling or not lags:
            began = time.perf_counter()
            await asyncio.sleep(0.02)
            lags.append(time.perf_counter() - began - 0.02)
            shown.action_move("down" if len(lags) % 2 else "up")
            assert began - started < 60
        middle, longest = sorted(lags)[len(lags) // 2] * 1000, max(lags) * 1000
        print(f"200 x 500: axis after {first:.2f} s, {work:.2f} s of work")
        print(f"while it filled the keys waited {middle:.0f} ms, at most {longest:.0f} ms")
        assert work < 1.0
        assert middle < 100
        width = shown.fit(shown.scrollable_content_region.width).scale.width
        assert f"200 saves in {width} columns" in str(app.main.view.border_title)
        await pilot.press("home")
        assert "NaN since ckpt-121" in text(shown, shown.head_lines)
        assert "!" in text(shown, 1)


async def test_damaged_saves_are_gaps_with_a_mark_and_the_run_shows_without_an_open_save() -> None:
    session = digits()
    session.open_errors[f"{RUN}/ckpt-3"] = Damaged("cut off", code="index-damaged")
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        rows = await opened(pilot, app)
        assert "×" in text(rows, 1)
        assert not any(char == "×" for char in text(rows, rows.head_lines + 1))
        await pilot.press("left", "left", "enter")
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "failed")
        assert app.main.view.showing != "timeline"
        await pilot.press("t")
        await pilot.pause()
        assert app.main.timeline_alone
        assert rows.has_focus
        await pilot.press("escape")
        assert app.main.view.showing != "timeline"
        app.main.save_tree.move_to(0)
        app.main.show_region("saves")
        await until(pilot, lambda: app.main.current is None)
        await pilot.press("t")
        await pilot.pause()
        assert rows.has_focus, "on the row of a run too"


# ------------------------------------------------------------------ curves and values


async def test_the_values_of_the_selected_tensor_over_the_saves() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, app)
        await until(pilot, lambda: app.fake.histories == ["dense/kernel"])
        heat = app.main.query_one(HeatOverSaves)
        await until(pilot, lambda: len(heat.histograms) == 5)
        await pilot.pause()
        lines = [text(heat, y) for y in range(heat.size.height)]
        joined = "\n".join(lines)
        assert "dense/kernel" in joined
        assert "0┼" in joined
        assert "!" in next(line for line in lines if "▼" in line)
        assert any(shade in joined for shade in "░▒▓█")
        await pilot.press("down")
        await until(pilot, lambda: len(app.fake.histories) == 2)


async def test_on_a_small_screen_the_values_are_read_when_they_are_looked_at() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot, app)
        words = app.main.query_one(KeyFooter).render().plain
        assert words.strip().startswith("Enter open  ← → save  m mark A  d diff")
        await pilot.pause(0.3)
        assert app.fake.histories == []
        await pilot.press("f")
        await until(pilot, lambda: app.fake.histories == ["dense/kernel"])
        assert app.main.focus_region == "pane"
        await pilot.press("left", "down")
        assert (table(app).place, table(app).cursor) == (3, 1), "its cursors move from here too"
        await pilot.press("escape")
        assert app.main.view.showing == "timeline"
        assert table(app).has_focus


async def test_what_the_whole_run_comes_to_stands_on_axis_and_rows_and_among_its_findings() -> None:
    session = digits()
    steps = tuple(range(0, 5001, 100))
    loss = tuple(2.0 / (1 + s / 1000) for s in steps)
    session.curves = (
        Scalars("learning_rate", "", steps, (0.001,) * len(steps)),
        Scalars("loss", "", steps, (*loss[:-1], float("nan"))),
        Scalars("accuracy", "", steps, loss),
    )
    session.course_findings = (
        Finding(
            "jump",
            "warning",
            "It jumped",
            f"{RUN}/ckpt-3",
            detail="from ckpt-2 to ckpt-3 the weights moved 40 times as far",
            evidence={"tensors": ["conv1/kernel"], "tensor_count": 1},
        ),
        Finding("never-changed", "warning", "Never trained", RUN, evidence={"tensors": ["bn1/moving_mean"]}),
    )
    app = Bench(session)
    async with app.run_test(size=HUGE) as pilot:
        rows = await opened(pilot, app)
        shown = [text(rows, rows.head_lines + n) for n in range(4)]
        assert "NaN since" in shown[0]
        assert any("conv1/kernel" in row and "jump at ckpt-3" in row for row in shown)
        assert any("bn1/moving_mean" in row and NEVER in row for row in shown), "a warning hides in no fold"
        assert "▲" in text(rows, 1)
        await pilot.press("left", "left")
        await pilot.pause()
        assert "It jumped" in str(app.main.view.border_subtitle)
        assert "from ckpt-2 to ckpt-3" in screen_text(app)
        codes = {finding.code for finding in app.main.ledger.all_findings(f"{RUN}/ckpt-1")}
        assert codes == {"jump", "never-changed"}
        assert app.main.ledger.totals() == (3, 5)
        assert [curve.tag for curve, _ in rows.curves] == ["loss", "learning_rate"]
        drawn = "\n".join(text(rows, y) for y in range(rows.head_lines))
        assert "loss" in drawn
        assert "accuracy" not in drawn
        assert any("\u2800" < char <= "\u28ff" for char in drawn)
        assert "!" in text(rows, 4), "a loss that is not finite has a mark"
        assert "0.5" in text(rows, 2).split()[-1], "2 / (1 + 3) at step 3,000"


async def test_without_colours_and_without_unicode_signs_carry_what_colour_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    session = digits()
    session.curves = (Scalars("loss", "", (1000, 3000, 5000), (2.0, 1.0, 0.5)),)
    app = Bench(session, ascii=True)
    async with app.run_test(size=WIDE) as pilot:
        rows = await opened(pilot, app)
        row = text(rows, rows.head_lines)
        assert "!" in row
        assert "NaN since ckpt-5" in row
        assert screen_text(app).isascii()
        assert "*" in text(rows, 2) + text(rows, 3) + text(rows, 4)


async def test_names_from_files_are_made_harmless() -> None:
    session = long_run(3, 1)
    evil = "evil\x1b[31m\u202e/kernel"
    for n, (path, listing) in enumerate(list(session.listings.items())):
        tensors = [replace(t, name=evil) if t.name == "layer_000/kernel" else t for t in listing.tensors]
        session.listings[path] = replace(listing, tensors=tuple(tensors))
        values = session.values[path]
        session.values[path] = {evil if k == "layer_000/kernel" else k: v for k, v in values.items()}
        found = session.found[n]
        assert isinstance(found, Found)
        session.found[n] = replace(found, label=f"ck\x1bpt-{n}", step=None)
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        rows = await opened(pilot, app)
        shown = screen_text(app) + "".join(text(rows, y) for y in range(rows.size.height))
        assert "\x1b" not in shown
        assert "\u202e" not in shown
