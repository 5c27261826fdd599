"""What runs in threads tells the screen by messages, in order, and stops when taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from textual.message import Message

from ckptui.core.model import Found
from ckptui.errors import Damaged, UsageError
from ckptui.session import Session
from ckptui.ui import jobs, messages
from tests.ui.fake_session import ROOT, SICK, FakeSession, digits

GO = threading.Event()


def run(job: Callable[..., None], session: FakeSession, what: object, *more: object) -> list[Message]:
    """The messages a job posts."""
    posted: list[Message] = []
    job(session, what, posted.append, GO, *more)
    return posted


def found_of(session: FakeSession, path: str) -> Found:
    return next(item for item in session.found if isinstance(item, Found) and item.path == path)


def test_looking_ends_with_a_last_message_that_holds_the_rest() -> None:
    session = digits()
    posted = [m for m in run(jobs.find_saves, session, [ROOT]) if isinstance(m, messages.SavesFound)]
    assert [m.last for m in posted][-1] is True
    assert sum(len(m.items) for m in posted) == len(session.found)


def test_a_save_that_opens_comes_with_its_rows() -> None:
    session = digits()
    (opened,) = run(jobs.open_save, session, found_of(session, SICK))
    assert isinstance(opened, messages.Opened)
    assert opened.rows.source.names[opened.rows.order[0]] == "conv2/bias"


def test_a_save_that_does_not_open_comes_with_the_reason() -> None:
    session = digits()
    (failed,) = run(jobs.open_save, session, found_of(session, f"{ROOT}/broken/truncated.h5"))
    assert isinstance(failed, messages.OpenFailed)
    assert isinstance(failed.error, Damaged)


def test_quick_checks_go_on_past_a_save_that_does_not_open() -> None:
    session = digits()
    saves = [item for item in session.found if isinstance(item, Found)]
    results: dict[str, object] = {}
    for message in run(jobs.quick_check, session, saves):
        assert isinstance(message, messages.QuickChecked)
        results.update(message.results)
    assert len(results) == len(saves)
    assert isinstance(results[f"{ROOT}/broken/truncated.h5"], Damaged)


def test_a_check_tells_every_tensor_then_the_filters_then_that_it_is_complete() -> None:
    session = digits()
    posted = run(jobs.check_save, session, session.listings[SICK], ())
    ended = posted[-1]
    assert isinstance(ended, messages.ScanEnded)
    assert ended.complete
    scanned = [m for m in posted if isinstance(m, messages.Scanned)]
    assert {scan.name for m in scanned for scan in m.scans} == set(session.values[SICK])
    codes = [f.code for m in scanned for f in m.findings]
    assert "non-finite" in codes
    assert codes[-1] == "untouched-filters"
    assert [m.step for m in scanned][-1] == "filters"


def test_a_check_taken_back_never_says_it_is_complete() -> None:
    session = digits()
    stop = threading.Event()
    posted: list[Message] = []
    session.gate.clear()
    thread = threading.Thread(target=jobs.check_save, args=(session, session.listings[SICK], posted.append, stop, ()))
    thread.start()
    stop.set()
    thread.join(5)
    ended = posted[-1]
    assert isinstance(ended, messages.ScanEnded)
    assert not ended.complete


def test_a_reader_that_fails_ends_the_check_with_the_error() -> None:
    session = digits()

    def broken(*args: Any, **options: Any) -> Any:
        raise Damaged("the index is gone")

    session.scan = broken  # type: ignore[method-assign]
    (ended,) = run(jobs.check_save, session, session.listings[SICK], ())
    assert isinstance(ended, messages.ScanEnded)
    assert not ended.complete
    assert isinstance(ended.error, Damaged)


def test_export_of_nothing_readable_is_refused(tmp_path: Path) -> None:
    session = digits()
    with pytest.raises(UsageError):
        jobs.export_tensors(
            cast(Session, session), session.listings[SICK], ["conv2/bias"], str(tmp_path / "a.npz"), print, GO
        )
    assert not list(tmp_path.iterdir())
