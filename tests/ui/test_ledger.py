"""What is known about every save: badges, totals, order of saves."""

from __future__ import annotations

from dataclasses import replace

from ckptui.core.model import Finding, Found, Kind, RunFolder, TensorScan
from ckptui.ui.ledger import Ledger, SaveRecord
from ckptui.ui.tree_rows import build_tree, common_root

RUN = "/r/run"


def found(name: str, run: str = "", modified: float = 0.0, kind: Kind = "tf-checkpoint", **more: object) -> Found:
    folder = run or "/r"
    return Found(f"{folder}/{name}", kind, name, folder, run=run, modified=modified, **more)  # type: ignore[arg-type]


def told(code: str, severity: str, tensor: str | None = None) -> Finding:
    return Finding(code, severity, "t", "/r", tensor)  # type: ignore[arg-type]


def kind(record: SaveRecord) -> str:
    """What its badge shows now."""
    return record.badge.kind


def a_ledger() -> Ledger:
    ledger = Ledger()
    ledger.add(found(f"ckpt-{i}", RUN, 1000.0 * i, latest=i == 10) for i in (1, 2, 10))
    ledger.add([RunFolder(RUN, "run", tuple(f"{RUN}/ckpt-{i}" for i in (1, 2, 10)), f"{RUN}/ckpt-10")])
    ledger.add([found("a.keras", modified=3000.0, kind="keras-archive"), told("unsupported-format", "info")])
    return ledger


def test_nothing_is_healthy_before_every_byte_agrees_with_a_checksum() -> None:
    record = SaveRecord(found("x"))
    assert kind(record) == "unchecked"
    record.phase = "quick"
    assert kind(record) == "unchecked"
    record.phase = "checking"
    assert kind(record) == "busy"
    record.scans["a"] = TensorScan("a", None, "ok")
    record.phase, record.read = "checked", True
    assert kind(record) == "ok"
    record.scans["b"] = TensorScan("b", None, "none")
    assert kind(record) == "read"


def test_no_tick_where_the_filters_of_a_kernel_were_not_looked_at() -> None:
    record = SaveRecord(found("x"))
    record.scans["a"] = TensorScan("a", None, "ok")
    record.phase, record.read = "checked", True
    assert record.outcome == "1 of 1 tensors read, every checksum agrees"
    record.learn([told("unsupported-format", "info", "a")])
    assert kind(record) == "read"
    assert "1 too large to be looked at filter by filter" in record.outcome


def test_errors_go_before_warnings_and_are_counted_once() -> None:
    record = SaveRecord(found("x"))
    assert record.learn([told("all-zero", "warning", "a"), told("non-finite", "error", "b")])
    assert not record.learn([told("non-finite", "error", "b")])
    assert (record.badge.kind, record.badge.count) == ("error", 1)
    assert record.flags["a"].severity == "warning"


def test_a_save_that_cannot_be_opened_counts_as_one_error() -> None:
    ledger = a_ledger()
    ledger.saves["/r/a.keras"].phase = "failed"
    assert ledger.totals() == (1, 0)
    ledger.saves["/r/a.keras"].learn([told("zip-damaged", "error")])
    assert ledger.totals() == (1, 0)


def test_the_newest_readable_save_comes_first() -> None:
    ledger = a_ledger()
    assert ledger.newest() == f"{RUN}/ckpt-10"
    ledger.add([found("cut.h5", modified=99_000.0, findings=(told("hdf5-damaged", "error"),))])
    assert ledger.newest() == f"{RUN}/ckpt-10"


def test_the_save_before_is_the_one_before_in_the_run() -> None:
    ledger = a_ledger()
    assert ledger.previous(f"{RUN}/ckpt-10") == f"{RUN}/ckpt-2"
    assert ledger.previous(f"{RUN}/ckpt-1") is None
    assert ledger.previous("/r/a.keras") is None


def test_the_tree_shows_runs_newest_first_then_lone_saves_then_notices() -> None:
    rows = build_tree(a_ledger(), "/r", ())
    assert [row.kind for row in rows] == ["folder", "save", "save", "save", "save", "notice"]
    assert [row.label for row in rows][:5] == ["run", "ckpt-10", "ckpt-2", "ckpt-1", "a.keras"]


def test_a_folder_opens_and_closes() -> None:
    rows = build_tree(a_ledger(), "/r", {RUN})
    assert [row.label for row in rows][:2] == ["run", "a.keras"]
    assert rows[0].count == 3


def test_with_many_saves_folders_that_are_no_runs_start_closed() -> None:
    ledger = a_ledger()
    for folder in range(20):
        ledger.add(Found(f"/r/f{folder}/{i}.h5", "keras-h5", f"{i}.h5", f"/r/f{folder}") for i in range(2))
    rows = build_tree(ledger, "/r", ())
    closed = [row for row in rows if row.kind == "folder" and not row.open]
    assert len(closed) == 20
    assert not any(row.is_run for row in closed)


def test_the_root_is_the_folder_of_a_single_file_and_the_folder_itself() -> None:
    assert common_root(["/r/a.keras"], ["/r"]) == "/r"
    assert common_root(["/r"], ["/r/run", "/r"]) == "/r"
    assert common_root(["/r/x", "/r/y"], ["/r/x/run"]) == "/r"


def test_the_listing_of_a_save_takes_the_place_of_the_first_look() -> None:
    first, closer = told("index-missing", "error"), told("index-missing", "error")
    closer = replace(closer, evidence={"stage": "parts-left"})
    record = SaveRecord(replace(found("x"), findings=(first,)))
    assert record.opened([closer, told("interrupted-save", "warning")])
    assert record.findings == [closer, told("interrupted-save", "warning")]
    assert (record.counts["error"], record.counts["warning"]) == (1, 1)
