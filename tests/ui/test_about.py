"""What About says of checksums: who vouches for the bytes, and never a failure where there is nothing to compare."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from ckptui.core.model import Finding, Found
from ckptui.ui.ledger import SaveRecord
from ckptui.ui.tensor_rows import prepare
from ckptui.ui.widgets.about_panel import age, nothing_found
from ckptui.ui.widgets.facts import checksum_fact
from tests.ui.fake_session import ROOT, RUN, digits
from tests.ui.pane_data import scan_of


def record_of(path: str, checksum: Any) -> SaveRecord:
    """A save of which every tensor was read with this verdict."""
    session = digits()
    found = next(f for f in session.found if isinstance(f, Found) and f.path == path)
    record = SaveRecord(found)
    record.rows = prepare(session.listings[path])
    record.phase, record.read = "checked", True
    for name, (array, _) in session.values[path].items():
        record.scans[name] = replace(scan_of(name, array), checksum=checksum)
    return record


@pytest.mark.parametrize(
    ("path", "checksum", "words"),
    [
        (f"{RUN}/ckpt-1", "ok", "28 of 28 tensors read; 28 of 28 checksums agree"),
        (f"{RUN}/ckpt-1", "mismatch", "28 of 28 tensors read; 0 of 28 checksums agree"),
        (f"{ROOT}/digits.keras", "none", "every member of the archive agrees with its CRC-32"),
        (f"{ROOT}/digits.h5", "none", "10 of 10 tensors read; this format stores no checksums"),
    ],
)
def test_a_full_check_says_what_vouches_for_the_bytes(path: str, checksum: str, words: str) -> None:
    assert words in nothing_found(record_of(path, checksum))


def test_a_check_of_earlier_says_when_it_was() -> None:
    record = record_of(f"{RUN}/ckpt-1", "ok")
    record.kept_since = time.time() - 181
    assert "28 of 28 checksums agree; read 3 min ago, unchanged since" in nothing_found(record)
    assert [age(time.time() - seconds) for seconds in (-5, 3, 5000, 90_000, 5e5)] == [
        "1 s", "3 s", "83 min", "25 h", "6 days",
    ]  # fmt: skip


def test_an_archive_says_where_a_member_disagrees() -> None:
    record = record_of(f"{ROOT}/digits.keras", "none")
    record.learn([Finding("zip-damaged", "error", "A member disagrees", record.found.path)])
    assert "not every member of the archive agrees" in nothing_found(record)


def test_a_tensor_of_an_archive_is_vouched_for_by_its_member() -> None:
    session = digits()
    tensor = session.listings[f"{ROOT}/digits.keras"].tensors[0]
    assert checksum_fact(tensor, None, "keras-archive").value == "the archive's, over the whole member"
    assert checksum_fact(tensor, None, "tf-checkpoint").value.startswith("not checked yet")
