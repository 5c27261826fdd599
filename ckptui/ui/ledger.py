"""What is known so far about every save below the paths: kept by the screen, fed by messages, pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ckptui.core.model import Finding, Found, Listing, RunFolder, TensorScan
from ckptui.errors import CkptuiError
from ckptui.ui.tensor_rows import Flag, TensorSource, flags_of

Phase = Literal["unread", "opening", "quick", "checking", "checked", "failed"]
"""`quick`: only the quick checks are done; `checked`: every byte was read."""

BadgeKind = Literal["busy", "unchecked", "ok", "read", "error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Badge:
    """What stands at the right of a save's row."""

    kind: BadgeKind
    count: int = 0


@dataclass(slots=True)
class SaveRecord:
    """One save: what discovery said, then its listing, then what the check says tensor by tensor."""

    found: Found
    phase: Phase = "unread"
    findings: tuple[Finding, ...] = ()
    """Every finding so far, each once."""
    listing: Listing | None = None
    source: TensorSource | None = None
    scans: dict[str, TensorScan] = field(default_factory=dict)
    error: CkptuiError | None = None

    def learn(self, findings: Iterable[Finding]) -> bool:
        """Add findings not told yet; True if there was one."""
        known = {(f.code, f.tensor) for f in self.findings}
        fresh = [f for f in findings if (f.code, f.tensor) not in known]
        self.findings = (*self.findings, *fresh)
        return bool(fresh)

    @property
    def flags(self) -> dict[str, Flag]:
        """State words by tensor name."""
        return flags_of(self.findings)

    @property
    def vouched(self) -> bool:
        """Every byte agrees with a stored checksum: tensor by tensor, or an archive's members as a whole."""
        if self.found.kind == "keras-archive":
            return self.phase == "checked"
        return bool(self.scans) and all(scan.checksum == "ok" for scan in self.scans.values())

    @property
    def badge(self) -> Badge:
        """Errors before warnings; the tick only after a full check in which every checksum agreed."""
        errors = sum(f.severity == "error" for f in self.findings) or int(self.phase == "failed")
        if errors:
            return Badge("error", errors)
        warnings = sum(f.severity == "warning" for f in self.findings)
        if warnings:
            return Badge("warning", warnings)
        if self.phase in ("opening", "checking"):
            return Badge("busy")
        if self.phase == "checked":
            return Badge("ok" if self.vouched else "read")
        return Badge("unchecked")


class Ledger:
    """Saves in the order they were met, runs, and notices that belong to no save."""

    def __init__(self) -> None:
        self.saves: dict[str, SaveRecord] = {}
        self.runs: dict[str, RunFolder] = {}
        self.notices: list[Finding] = []
        self.mark: str | None = None
        """Path of the save marked A."""

    def add(self, items: Iterable[Found | RunFolder | Finding]) -> None:
        """Take in what discovery met."""
        for item in items:
            if isinstance(item, Found):
                self.saves.setdefault(item.path, SaveRecord(item, findings=item.findings))
            elif isinstance(item, RunFolder):
                self.runs[item.path] = item
            else:
                self.notices.append(item)

    def newest(self) -> str | None:
        """The save to begin with: a run's latest before lone saves of the same age; None without saves."""
        readable = [r for r in self.saves.values() if not r.found.findings] or list(self.saves.values())
        if not readable:
            return None
        best = max(readable, key=lambda r: (r.found.modified, r.found.latest, r.found.step or -1))
        return best.found.path

    def run_of(self, path: str) -> RunFolder | None:
        """The run a save belongs to."""
        record = self.saves.get(path)
        return self.runs.get(record.found.run) if record is not None else None

    def previous(self, path: str) -> str | None:
        """The save before this one in its run."""
        run = self.run_of(path)
        if run is None or path not in run.saves:
            return None
        place = run.saves.index(path)
        return run.saves[place - 1] if place else None

    def all_findings(self, path: str) -> tuple[Finding, ...]:
        """A save's own findings, then those of its run."""
        record = self.saves.get(path)
        run = self.run_of(path)
        return (*(record.findings if record else ()), *(run.findings if run else ()))

    def totals(self) -> tuple[int, int]:
        """Errors and warnings over everything met; a save that can't be opened is an error."""
        groups: list[Sequence[Finding]] = [r.findings for r in self.saves.values()]
        groups += [run.findings for run in self.runs.values()]
        groups.append(self.notices)
        errors = sum(f.severity == "error" for group in groups for f in group)
        errors += sum(
            r.phase == "failed" and not any(f.severity == "error" for f in r.findings) for r in self.saves.values()
        )
        return errors, sum(f.severity == "warning" for group in groups for f in group)
