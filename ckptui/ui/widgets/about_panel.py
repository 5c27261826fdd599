"""Facts about a save, and what was checked: a clean bill names what it rests on."""

from __future__ import annotations

import time

from textual.content import Content

from ckptui.core.model import Listing
from ckptui.core.report import SEEN_BITS
from ckptui.core.text import human_bytes, human_count, safe, step_text
from ckptui.ui.ledger import SaveRecord
from ckptui.ui.widgets.header import duration
from ckptui.ui.widgets.reflow import Reflow, two_columns

NO_CHECKSUMS: dict[str, str] = dict.fromkeys(
    ("keras-h5", "keras-weights", "hdf5"),
    f"HDF5 stores no checksum over plain data: {SEEN_BITS}, as values no training makes",
)
CHECKED: dict[str, str] = {
    "tf-checkpoint": "a CRC-32C over every index block and every tensor",
    "tf-checkpoint-v1": "a CRC-32C over every block",
    "saved-model": "a CRC-32C over every index block and every tensor; none over saved_model.pb",
    "keras-archive": "a CRC-32 over every member of the archive",
    "meta-graph": "none",
}


NAMES_WIDTH = 12


class AboutPanel(Reflow):
    """Two columns: what, and its value."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(lambda width: Content(), id=id)

    def about(self, record: SaveRecord) -> None:
        """Show the facts of a save."""
        self.show(lambda width: facts(record, width))


def facts(record: SaveRecord, width: int) -> Content:
    """Path, kind, writer, sizes, times, and how far the save was checked."""
    rows = [("path", safe(record.found.path)), ("kind", record.found.kind)]
    if record.listing is not None:
        rows += _listing_rows(record.listing)
    rows += [("", ""), ("checked", _checked_words(record))]
    kind = record.found.kind
    rows.append(("checksums", NO_CHECKSUMS.get(kind) or CHECKED.get(kind, "")))
    return Content.assemble(*two_columns(rows, NAMES_WIDTH, width, "$dim"))


def _listing_rows(listing: Listing) -> list[tuple[str, str]]:
    artifact = listing.artifact
    rows = []
    if artifact.step is not None:
        rows.append(("step", step_text(artifact.step)))
    writer = "  ".join(f"{safe(str(k))} {safe(str(v))}" for k, v in artifact.writer.items())
    rows.append(("writer", writer or "does not say"))
    rows.append(("size", f"{human_bytes(artifact.bytes)} ({human_count(artifact.bytes)} bytes)"))
    if artifact.shards:
        rows.append(("shards", human_count(artifact.shards)))
    rows.append(("tensors", human_count(artifact.tensors)))
    rows.append(("parameters", human_count(artifact.parameters)))
    if artifact.modified:
        rows.append(("modified", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(artifact.modified))))
    return rows


def _checked_words(record: SaveRecord) -> str:
    if record.phase == "failed":
        return "could not be opened"
    if record.listing is None:
        return "nothing yet"
    if not record.scans:
        return "the directory only: names, shapes, sizes; no tensor byte was read"
    read = sum(scan.checksum != "unread" for scan in record.scans.values())
    words = f"{human_count(read)} of {human_count(record.listing.artifact.tensors)} tensors read; "
    words += _agreement_words(record)
    if record.phase != "checked":
        return f"{words}; not complete"
    return words if record.kept_since is None else f"{words}; read {age(record.kept_since)} ago, unchanged since"


def age(since: float) -> str:
    """How long ago a moment was, in seconds since the epoch: `4 s`, `3 min`, `2 h`, `5 days`."""
    seconds = max(0.0, time.time() - since)
    return duration(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:.0f} days"


def _agreement_words(record: SaveRecord) -> str:
    """How many checksums agree; where there is none a tensor, who vouches for the bytes instead."""
    verdicts = [scan.checksum for scan in record.scans.values()]
    agreed, compared = verdicts.count("ok"), verdicts.count("ok") + verdicts.count("mismatch")
    if compared:
        return f"{human_count(agreed)} of {human_count(compared)} checksums agree"
    if record.found.kind != "keras-archive" or _is_folder(record):
        return "this format stores no checksums" if record.found.kind in NO_CHECKSUMS else "no checksum was stored"
    words = "no tensor has a checksum of its own in this format"
    if record.phase != "checked":
        return words
    damaged = any(f.code in ("zip-damaged", "checksum-mismatch") for f in record.findings)
    members = "not every member of the archive agrees" if damaged else "every member of the archive agrees"
    return f"{words}; {members} with its CRC-32"


def _is_folder(record: SaveRecord) -> bool:
    """A Keras model saved as a folder: nothing vouches for its files."""
    return record.listing is not None and record.listing.artifact.writer.get("form") == "folder"


def nothing_found(record: SaveRecord) -> str:
    """The words of an empty findings tab: what was looked at, never more."""
    if record.phase in ("unread", "opening"):
        return "Looking …"
    if record.phase != "checked":
        return f"Nothing found so far. Checked: {_checked_words(record)}. c checks all of it."
    return f"Nothing found. Checked: {_checked_words(record)}.\nChecksums: " + (
        NO_CHECKSUMS.get(record.found.kind) or CHECKED.get(record.found.kind, "")
    )
