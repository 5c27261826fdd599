"""A run being trained, watched: saves come by themselves, go with a word, and nothing moves under the user's hands."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot

from ckptui.core.model import Finding, Found, Kind, RunFolder, Watched
from ckptui.session import Session
from ckptui.ui.app import Workbench
from ckptui.ui.screens.main import MainScreen
from ckptui.ui.widgets.header import HeaderLine
from tests.places import SAMPLES
from tests.ui.cells_at import text
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import ROOT, RUN, SICK, FakeSession, digits


def said(app: Workbench) -> list[str]:
    """What is said just now."""
    return [notification.message for notification in app._notifications]


def appear(session: FakeSession, number: int) -> Found:
    """The trainer writes `ckpt-number` of the run."""
    path, kind = f"{RUN}/ckpt-{number}", "tf-checkpoint"
    session.add(
        path,
        kind,  # type: ignore[arg-type]
        session.values[f"{RUN}/ckpt-4"],
        run=RUN,
        step=1000 * number,
        modified=1000.0 * (100 + number),
        latest=True,
    )
    found = session.found[-1]
    assert isinstance(found, Found)
    return found


def tell(session: FakeSession, *labels: str, **watched: object) -> None:
    """The watcher says what became of the run, which now has the saves of these labels."""
    paths = tuple(f"{RUN}/{label}" for label in labels)
    run = RunFolder(RUN, "run", paths, paths[-1])
    session.found = [run if isinstance(item, RunFolder) else item for item in session.found]
    session.news.put(Watched(runs=(run,), **watched))  # type: ignore[arg-type]


async def news_checked(pilot: Pilot[None], app: Bench, path: str) -> None:
    await until(pilot, lambda: path in app.main.ledger.saves and app.main.ledger.saves[path].phase == "checked")


async def test_a_new_save_takes_its_place_is_checked_and_moves_nothing() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        assert app.fake.watched == [(ROOT,)]
        assert "watching" in app.main.query_one(HeaderLine).render().plain
        await pilot.press("j")
        tensor = app.main.view.table.tensor
        found = appear(app.fake, 6)
        tell(app.fake, *(f"ckpt-{i}" for i in range(1, 7)), appeared=(found,))
        await news_checked(pilot, app, found.path)
        labels = [row.label for row in app.main.save_tree.rows]
        assert labels[1:3] == ["ckpt-6", "ckpt-5"]
        assert app.main.current == SICK
        assert app.main.save_tree.row is not None
        assert app.main.save_tree.row.key == SICK
        assert app.main.view.table.tensor is tensor
        await until(pilot, lambda: said(app) == ["ckpt-6 appeared"])
        assert app.main.ledger.runs[RUN].saves[-1] == found.path
        assert not app.main.ledger.saves[SICK].found.latest
        assert app.fake.timelines == [], "a timeline that nobody opened is not begun"


async def test_a_large_new_save_is_only_looked_at() -> None:
    session = digits()
    session.settings = type(session.settings)(auto_scan_bytes=1000)
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "quick")
        await at_rest(pilot, app)
        found = appear(session, 6)
        tell(session, *(f"ckpt-{i}" for i in range(1, 7)), appeared=(found,))
        await until(pilot, lambda: found.path in session.opened)
        await at_rest(pilot, app)
        assert app.main.ledger.saves[found.path].phase == "quick"
        assert found.path not in {path for path, _ in session.scanned}


async def test_the_open_timeline_goes_on_and_reads_only_what_is_new() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("t")
        await until(pilot, lambda: app.main.timeline.course is not None and app.main.timeline.course.report is not None)
        await pilot.press("down", "left", "left")
        rows = app.main.timeline.table
        name, place = rows.track.name if rows.track else "", rows.place
        read = len(app.fake.read_for_course)
        found = appear(app.fake, 6)
        tell(app.fake, *(f"ckpt-{i}" for i in range(2, 7)), appeared=(found,), gone=(f"{RUN}/ckpt-1",))
        await until(
            pilot, lambda: app.main.timeline.course is not None and found.path in app.main.timeline.course.places
        )
        await until(pilot, lambda: not app.main.timeline.filling)
        await pilot.pause()
        assert app.fake.read_for_course[read:] == [found.path]
        assert app.fake.timelines[-1] == (RUN, True)
        assert rows.track is not None
        assert (rows.track.name, rows.place) == (name, place - 1), "both cursors stay on what they were on"
        await until(pilot, lambda: said(app) == ["ckpt-6 appeared; ckpt-1 was removed by the trainer"])
        assert "ckpt-1" not in [row.label for row in app.main.save_tree.rows]
        await pilot.press("left", "left", "left")
        assert rows.place == 0
        found = appear(app.fake, 7)
        tell(app.fake, *(f"ckpt-{i}" for i in range(3, 8)), appeared=(found,), gone=(f"{RUN}/ckpt-2",))
        await until(
            pilot, lambda: app.main.timeline.course is not None and found.path in app.main.timeline.course.places
        )
        assert rows.place == 0, "the neighbour of a save that is gone, and not the newest"


async def test_a_save_that_goes_while_it_is_on_show_stays_greyed_until_one_moves_on() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        await pilot.press("m")
        assert app.main.ledger.mark == SICK
        tell(app.fake, *(f"ckpt-{i}" for i in range(1, 5)), gone=(SICK,))
        await until(pilot, lambda: app.main.record is not None and app.main.record.gone)
        await pilot.pause()
        await until(pilot, lambda: said(app) == ["ckpt-5 was removed by the trainer; the mark A went with it"])
        assert app.main.ledger.mark is None
        assert "removed" in str(app.main.view.border_title)
        assert app.main.view.has_class("-gone")
        assert "conv2/bias" in screen_text(app)
        assert not app.main.check_action("diff", ())
        tree = app.main.save_tree
        assert "removed" in text(tree, tree.cursor - tree.first_visible)
        app.main.show_region("saves")
        await pilot.press("up")
        await until(pilot, lambda: app.main.current == f"{RUN}/ckpt-1")
        await settled(pilot, app)
        assert SICK not in app.main.ledger.saves
        assert not app.main.view.has_class("-gone")


async def test_a_save_written_anew_is_opened_anew_on_the_same_tensor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        app.main.view.table.jump_to("dense/bias")
        app.fake.listings[SICK] = replace(app.fake.listings[SICK], findings=())
        app.fake.scan_findings.clear()
        found = app.main.ledger.saves[SICK].found
        tell(app.fake, *(f"ckpt-{i}" for i in range(1, 6)), changed=(replace(found, modified=9e5),))
        await until(pilot, lambda: said(app) == ["ckpt-5 was written anew"])
        await settled(pilot, app)
        assert app.main.current == SICK
        assert app.main.ledger.saves[SICK].counts["error"] == 0
        assert app.main.view.table.tensor is not None
        assert app.main.view.table.tensor.name == "dense/bias"


async def test_the_first_save_of_an_empty_folder_opens_and_strange_names_stay_harmless() -> None:
    session = FakeSession()
    app = Bench(session)
    async with app.run_test(size=NARROW) as pilot:
        await until(pilot, lambda: "No saves here" in screen_text(app))
        await until(pilot, lambda: session.watched)
        kind: Kind = "keras-archive"
        session.add(f"{ROOT}/a\x1b[2Jb.keras", kind, {}, modified=5.0)
        notice = Finding("not-a-model", "info", "A page of a web site", f"{ROOT}/x.h5")
        found = session.found[-1]
        assert isinstance(found, Found)
        session.news.put(Watched(appeared=(found,), findings=(notice,)))
        await until(pilot, lambda: app.main.current == found.path)
        await settled(pilot, app)
        await until(pilot, lambda: said(app))
        assert "\x1b" not in "".join(said(app))
        assert "appeared" in said(app)[0]
        assert app.main.ledger.notices == [notice]
        session.news.put(Watched(gone=(f"{ROOT}/never-there",)))
        await pilot.pause(0.2)
        assert app.main.current == found.path


async def test_other_paths_are_watched_in_the_place_of_those_before() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await until(pilot, lambda: app.fake.watched)
        first = app.main._cancels["watch"]
        app.main.look([f"{ROOT}/served"])
        await until(pilot, lambda: len(app.fake.watched) == 2)
        assert first.is_set()
        assert app.fake.watched[-1] == (f"{ROOT}/served",)


def copied(number: int, folder: Path) -> None:
    """What a saver does: the data, the index, then the state file in one move."""
    name = f"ckpt-{number}"
    for suffix in (".data-00000-of-00001", ".index"):
        shutil.copy(SAMPLES / "digits" / (name + suffix), folder / (name + suffix))
    state = folder / "checkpoint.tmp"
    state.write_text(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
    state.replace(folder / "checkpoint")


async def test_a_real_folder_under_a_trainer(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for number in (1, 2):
        copied(number, folder)
    app = Workbench([str(folder)], Session(cache=False))
    async with app.run_test(size=WIDE) as pilot:
        main = app.screen_stack[0]
        assert isinstance(main, MainScreen)
        await until(pilot, lambda: main.record is not None and main.record.phase == "checked", 60)
        assert main.current == str(folder / "ckpt-2")
        await pilot.press("t")
        await until(pilot, lambda: main.timeline.course is not None and main.timeline.course.report is not None, 60)
        started = time.monotonic()
        trainer = threading.Thread(target=copied, args=(3, folder))
        trainer.start()
        new = str(folder / "ckpt-3")
        await until(pilot, lambda: new in main.ledger.saves, 60)
        seen = time.monotonic() - started
        trainer.join()
        await until(pilot, lambda: main.timeline.course is not None and new in main.timeline.course.places, 60)
        await until(pilot, lambda: main.ledger.saves[new].phase == "checked", 60)
        print(f"a save written while its run is on show: in the tree after {seen:.1f} s")
        assert main.current == str(folder / "ckpt-2")
        for suffix in (".index", ".data-00000-of-00001"):
            (folder / f"ckpt-1{suffix}").unlink()
        await until(pilot, lambda: str(folder / "ckpt-1") not in main.ledger.saves, 60)
        await until(pilot, lambda: said(app) == ["ckpt-1 was removed by the trainer"])
        await until(pilot, lambda: main.timeline.course is not None and len(main.timeline.course) == 2, 60)
